// The only script of a report: without it, the figures can be read all the same.
"use strict";
const button = document.getElementById("copy");
const text = document.getElementById("markdown");
const said = document.getElementById("copied");

function select() {
  text.closest("details").open = true;
  getSelection().selectAllChildren(text);
  said.textContent = "Selected; copy it with Ctrl+C.";
}

button.hidden = false;
button.addEventListener("click", () => {
  if (!navigator.clipboard) return select();
  navigator.clipboard.writeText(text.textContent).then(() => {
    said.textContent = "Copied.";
  }, select);
});
