"""The page in a real browser, against a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time

import httpx
import pytest

from edgetool.calls.prompt.template_choice import ChatTemplate
from edgetool.errors import EngineError
from edgetool.llama.protocol import Delta
from edgetool.server.page import HEADERS
from edgetool.server.requests import BadRequest
from tests.conftest import music_tool, weather_tool
from tests.server.browser import Browser, program
from tests.server.scripted import ScriptedWriter

SCRIPTS = ("page.js", "snippets.js", "stream.js", "words.js", "writing.js")
FILES = ("/", "/page/page.css", *(f"/page/{name}" for name in SCRIPTS))
KEY = "s3cret"


def call(job):
    """A call of the one tool, or the first: the name forced, the rest chosen, a little apart."""
    if not job.tools:
        return ["No tool fits."]
    tool = next((tool for tool in job.tools if tool.name == job.only), job.tools[0])
    arguments = dict.fromkeys(tool.required, "Oslo")
    yielded = ["<tool_call>\n", '{"name": "', f'{tool.name}", "arguments": ']
    return [*yielded, 0.05, Delta(json.dumps(arguments), 4, 0), "}\n</tool_call>"]


@pytest.fixture(scope="module")
def url(serving):
    return serving(ScriptedWriter(call), tools=[weather_tool(), music_tool()])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(program(), tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser, url):
    """The page with the server's tools in it, in the light and on a wide screen."""
    look(browser, 1200, dark=False)
    browser.open(url)
    browser.until("document.querySelectorAll('#offered input').length === 2")
    return browser


def look(browser, width, *, dark):
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.call("Emulation.setEmulatedMedia", features=scheme)
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=800,
        deviceScaleFactor=1,
        mobile=width < 600,
    )


def text_of(browser, place):
    return browser.run(f"document.querySelector({json.dumps(place)}).textContent")


def put(browser, place, value):
    """Fill a field as pasting would."""
    browser.run(
        f"(() => {{ const field = document.querySelector({json.dumps(place)});"
        f"field.value = {json.dumps(value)}; field.dispatchEvent(new Event('input')); }})()"
    )


def send(browser, said, choice="required", limit=200):
    put(browser, "#request", said)
    browser.run(f"document.getElementById('choice').value = {json.dumps(choice)}")
    put(browser, "#limit", str(limit))
    browser.run("document.getElementById('send').click()")


def wait_for_both(browser):
    browser.until("document.getElementById('said').textContent.startsWith('Constrained: ')")


@pytest.mark.parametrize("path", FILES)
def test_every_file_comes_with_a_policy_that_lets_only_itself_in(url, path):
    answer = httpx.get(url + path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy == HEADERS["content-security-policy"]
    assert "unsafe" not in policy and "http" not in policy


def test_the_files_name_no_other_place_and_write_no_html(url):
    texts = [httpx.get(url + path).text for path in FILES]
    for text in texts:
        assert not re.search(
            r"https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write", text
        )
        assert not re.search(r"\son[a-z]+=|\sstyle=|<style|eval\(|Function\(", text)


def test_the_servers_tools_need_the_key(serving):
    url = serving(ScriptedWriter(), tools=[weather_tool()], api_key=KEY)
    assert httpx.get(url).status_code == 200
    assert httpx.get(f"{url}/page/tools.json").status_code == 401
    right = {"authorization": f"Bearer {KEY}"}
    [tool] = httpx.get(f"{url}/page/tools.json", headers=right).json()
    assert tool == weather_tool().as_openai()


@pytest.mark.slow
def test_the_keyboard_alone_asks_and_both_arms_are_written(page):
    assert page.run("document.activeElement.id") == "request"
    page.type("weather in Oslo please")
    page.press("Tab")  # the first tool
    page.press(" ")
    page.tab_to("choice")
    page.press("ArrowDown")
    assert page.run("document.getElementById('choice').value") == "required"
    page.tab_to("send")
    page.press("Enter")
    wait_for_both(page)
    assert text_of(page, "#constrained .call b") == "play_music"  # the first one was unticked
    assert isinstance(json.loads(text_of(page, "#constrained .call > span")), dict)
    figures = text_of(page, "#constrained dl")
    for named in ("Result", "First shown", "Whole", "Tokens", "Forced", "passes2", "4 of them"):
        assert named in figures
    assert "Whole" in text_of(page, "#free dl")
    page.tab_to("curl")
    page.press("Enter")
    page.until("document.getElementById('snippet').value.startsWith('curl ')")
    assert page.complaints == []


@pytest.mark.slow
def test_enter_sends_and_shift_enter_breaks_the_line(page):
    page.type("weather")
    page.press("Enter", shift=True)
    page.type("in Oslo")
    assert page.run("document.getElementById('request').value") == "weather\nin Oslo"
    page.press("Enter")
    wait_for_both(page)


@pytest.mark.slow
def test_escape_stops_and_the_server_hears_of_it(browser, serving):
    writer = ScriptedWriter(lambda _: ["Once", " upon", 60.0, " a time"])
    look(browser, 1200, dark=False)
    browser.open(serving(writer))
    browser.until("document.querySelectorAll('#offered input').length === 2")
    browser.type("tell me a story")
    browser.press("Enter")
    browser.until("document.querySelector('#constrained .written').textContent === 'Once upon'")
    browser.press("Escape")
    browser.until("document.getElementById('said').textContent === 'Stopped.'")
    assert text_of(browser, "#free .written") == ""
    end = time.monotonic() + 20
    while not writer.cancelled and time.monotonic() < end:
        time.sleep(0.05)
    assert writer.cancelled == 1


@pytest.mark.slow
def test_a_call_grows_as_it_is_written_and_what_was_forced_is_shaded(browser, serving):
    def slowly(job):
        return [*call(job)[:3], "{", Delta('"city": "Os', 3, 1), 60.0, 'lo"}}\n</tool_call>']

    look(browser, 1200, dark=False)
    browser.open(serving(ScriptedWriter(slowly), tools=[weather_tool()]))
    browser.until("document.querySelectorAll('#offered input').length === 1")
    send(browser, "weather in Oslo")
    browser.until("document.querySelector('#constrained .call')?.textContent.endsWith('Os')")
    assert text_of(browser, "#constrained .call") == 'get_weather {"city": "Os'
    assert text_of(browser, "#constrained .call .forced") == "get_weather"
    assert text_of(browser, "#constrained .call .partly") == '"city": "Os'
    assert text_of(browser, "#constrained dl") == ""  # nothing is said of it before its end
    browser.press("Escape")


@pytest.mark.slow
def test_an_engine_that_fails_half_way_is_said_beside_what_was_written(browser, serving):
    def failing(_):
        return ["Once", " upon", 0.05, EngineError("the engine has ended")]

    look(browser, 1200, dark=False)
    browser.open(serving(ScriptedWriter(failing)))
    browser.until("document.querySelectorAll('#offered input').length === 2")
    send(browser, "tell me a story", choice="auto")
    browser.until("document.querySelector('#constrained .wrong')")
    assert text_of(browser, "#constrained .written").startswith("Once upon")
    assert "the engine has ended" in text_of(browser, "#constrained .wrong")
    send(browser, "tell me another", choice="auto")  # the page can still be used
    browser.until("document.querySelectorAll('#constrained .wrong').length === 1")


@pytest.mark.slow
def test_the_free_arm_asks_for_no_grammar_and_no_named_call(browser, serving):
    writer = ScriptedWriter(call)
    look(browser, 1200, dark=False)
    browser.open(serving(writer, tools=[weather_tool(), music_tool()]))
    browser.until("document.querySelectorAll('#offered input').length === 2")
    send(browser, "jazz", choice="tool play_music")
    wait_for_both(browser)
    constrained, free = writer.jobs
    assert (constrained.constrained, constrained.only) == (True, "play_music")
    assert (free.constrained, free.choice, free.only) == (False, "auto", None)
    assert free.tools == constrained.tools


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 360, 1200])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_wider_than_the_screen(browser, url, width, dark):
    look(browser, width, dark=dark)
    browser.open(url)
    browser.until("document.querySelectorAll('#offered input').length === 2")
    browser.run("document.getElementById('edit').open = true")
    put(browser, "#tools", json.dumps([{"name": "long_name_" * 12, "parameters": {}}]))
    send(browser, "word" * 200, choice="auto", limit=5)
    wait_for_both(browser)
    browser.run("document.getElementById('python').click()")
    browser.until("!document.getElementById('snippet').hidden")
    root = "document.documentElement"
    assert browser.run(f"{root}.scrollWidth - {root}.clientWidth") <= 0
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 26)" if dark else "rgb(253, 253, 251)")
    assert browser.complaints == []


def untick_all(browser):
    browser.run("document.querySelectorAll('#offered input:checked').forEach((box) => box.click())")


@pytest.mark.slow
@pytest.mark.parametrize("offer_tools", [False, True])
def test_where_no_tool_is_ticked_none_is_sent(browser, serving, offer_tools):
    writer = ScriptedWriter(call)
    look(browser, 1200, dark=False)
    browser.open(serving(writer, tools=[weather_tool()], offer_tools=offer_tools))
    browser.until("document.querySelectorAll('#offered input').length === 1")
    untick_all(browser)
    send(browser, "weather in Oslo", choice="auto")
    wait_for_both(browser)
    assert [job.tools for job in writer.jobs] == [(), ()]
    assert text_of(browser, "#constrained .written") == "No tool fits."
    browser.run("document.getElementById('curl').click()")
    browser.until("document.getElementById('snippet').value !== ''")
    assert '"tools": []' in browser.run("document.getElementById('snippet').value")


@pytest.mark.slow
def test_the_tools_that_are_ticked_are_sent_in_both_arms(browser, serving):
    writer = ScriptedWriter(call)
    look(browser, 1200, dark=False)
    browser.open(serving(writer, tools=[weather_tool(), music_tool()]))
    browser.until("document.querySelectorAll('#offered input').length === 2")
    browser.run("document.querySelector('#offered input').click()")
    send(browser, "jazz")
    wait_for_both(browser)
    assert [[tool.name for tool in job.tools] for job in writer.jobs] == [["play_music"]] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        ({}, "missing: city"),
        ({"city": "Oslo", "week": 2}, "unknown: week"),
        ({"city": "Oslo"}, "a call that can be made"),
    ],
)
def test_whether_a_call_can_be_made_is_said(browser, serving, arguments, verdict):
    body = json.dumps({"name": "get_weather", "arguments": arguments})
    look(browser, 1200, dark=False)
    writer = ScriptedWriter(lambda _: [f"<tool_call>\n{body}\n</tool_call>"])
    browser.open(serving(writer, tools=[weather_tool()]))
    browser.until("document.querySelectorAll('#offered input').length === 1")
    send(browser, "weather in Oslo", choice="auto")
    wait_for_both(browser)
    for arm in ("constrained", "free"):
        assert verdict in text_of(browser, f"#{arm} dl")


def refusing(constrained_only):
    """A model that will not hold a schema."""

    def script(job):
        if job.constrained or not constrained_only:
            return [BadRequest("parameters of get_weather cannot be held to: $dynamicRef", "tools")]
        return call(job)

    return script


@pytest.mark.slow
def test_a_refused_schema_is_said_once_and_the_free_arm_is_tried(browser, serving):
    look(browser, 1200, dark=False)
    browser.open(serving(ScriptedWriter(refusing(True)), tools=[weather_tool()]))
    browser.until("document.querySelectorAll('#offered input').length === 1")
    send(browser, "weather in Oslo", choice="auto")
    wait_for_both(browser)
    assert "$dynamicRef" in text_of(browser, "#constrained .wrong")
    assert text_of(browser, "#free .call") == 'get_weather {"city": "Oslo"}'
    assert browser.run(f"{BODY}.split('$dynamicRef').length") == 2
    said = text_of(browser, "#said")
    assert said.startswith("Constrained: refused. Free: a call that can be made, ")


@pytest.mark.slow
def test_a_reason_that_both_arms_share_is_said_once(browser, serving):
    look(browser, 1200, dark=False)
    browser.open(serving(ScriptedWriter(refusing(False)), tools=[weather_tool()]))
    browser.until("document.querySelectorAll('#offered input').length === 1")
    send(browser, "weather in Oslo", choice="auto")
    wait_for_both(browser)
    assert browser.run(f"{BODY}.split('$dynamicRef').length") == 2
    assert text_of(browser, "#free .written") == "The same as beside."
    assert text_of(browser, "#said") == "Constrained: refused. Free: refused."


BODY = "document.body.innerText"
STOP = "document.getElementById('stop').disabled"


@pytest.mark.slow
def test_stop_can_be_pressed_only_while_something_is_written(browser, serving):
    look(browser, 1200, dark=False)
    browser.open(serving(ScriptedWriter(lambda _: ["Once", 60.0, " upon"])))
    browser.until("document.querySelectorAll('#offered input').length === 2")
    assert browser.run(STOP) is True
    send(browser, "tell me a story", choice="auto")
    browser.until("document.querySelector('#constrained .written').textContent === 'Once'")
    assert browser.run(STOP) is False
    browser.run("document.getElementById('stop').click()")
    browser.until("document.getElementById('said').textContent === 'Stopped.'")
    assert browser.run(STOP) is True
    assert text_of(browser, "#constrained .written") == "Once"
    assert text_of(browser, "#free .written") == ""


@pytest.mark.slow
def test_one_token_is_not_tokens(browser, serving):
    look(browser, 1200, dark=False)
    browser.open(serving(ScriptedWriter(lambda _: ["Hi"])))
    browser.until("document.querySelectorAll('#offered input').length === 2")
    send(browser, "hello", choice="auto")
    wait_for_both(browser)
    figures = text_of(browser, "#constrained dl")
    assert "1 of 1 token (100 %)" in figures and "7 tokens, 4 of them" in figures
    assert not re.search(r"\b1 (tokens|forward passes|calls)", browser.run(BODY))


EVIL = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


@pytest.mark.slow
def test_html_in_tools_and_errors_stays_text(page):
    tool = {"name": EVIL, "description": EVIL, "parameters": {"type": "object"}}
    put(page, "#tools", json.dumps([tool]))
    assert EVIL in text_of(page, "#offered")
    send(page, EVIL)  # the server refuses the tool's name and says so
    page.until("document.querySelector('#constrained .wrong')")
    put(page, "#tools", f"[{EVIL}")
    assert "not JSON" in text_of(page, "#problem")
    assert page.run("document.querySelectorAll('img, main script').length") == 0
    assert page.run("document.title") != "owned"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pasted", "complaint"),
    [
        ("[", "not JSON"),
        ("3", "Tool 1 has no name."),
        ('[{"x": 1}]', "Tool 1 has no name."),
        ('{"tools": {}}', "must be a list"),
        ("[null]", "Tool 1 has no name."),
    ],
)
def test_tools_that_cannot_be_read_are_named_and_nothing_is_sent(page, pasted, complaint):
    put(page, "#tools", pasted)
    send(page, "hello", choice="auto")
    assert complaint in text_of(page, "#problem")
    assert text_of(page, "#said") == ""


@pytest.mark.slow
def test_a_key_is_asked_for_and_then_used(browser, serving):
    look(browser, 1200, dark=False)
    browser.open(serving(ScriptedWriter(call), tools=[weather_tool()], api_key=KEY))
    browser.until("document.activeElement.id === 'key'")
    browser.type(KEY)
    browser.press("Tab")
    browser.until("document.querySelectorAll('#offered input').length === 1")
    send(browser, "weather in Oslo")
    wait_for_both(browser)
    browser.run("document.getElementById('python').click()")
    browser.until("!document.getElementById('snippet').hidden")
    snippet = browser.run("document.getElementById('snippet').value")
    assert KEY not in snippet and "EDGETOOL_API_KEY" in snippet


@pytest.mark.slow
def test_a_template_that_was_replaced_is_said(browser, serving):
    writer = ScriptedWriter(call)
    writer.chat_template = ChatTemplate("", "chatml", "its template shows no <b>tools</b>")
    look(browser, 1200, dark=False)
    browser.open(serving(writer, tools=[weather_tool()]))
    browser.until("document.getElementById('template').textContent.includes('<b>tools</b>')")


@pytest.mark.slow
def test_a_wrong_key_says_so(browser, serving):
    look(browser, 1200, dark=False)
    browser.open(serving(ScriptedWriter(call), tools=[weather_tool()], api_key=KEY))
    browser.until("document.activeElement.id === 'key'")
    assert text_of(browser, "#key-problem") == "This server asks for an API key."
    browser.type("guess")
    browser.press("Tab")
    browser.until("document.getElementById('key-problem').textContent.includes('not the server')")
    assert browser.run("document.activeElement.id") == "key"
    put(browser, "#key", KEY)
    browser.run("document.getElementById('key').dispatchEvent(new Event('change'))")
    browser.until("document.querySelectorAll('#offered input').length === 1")
    assert text_of(browser, "#key-problem") == ""


@pytest.mark.slow
def test_a_key_that_has_become_wrong_is_said_once_and_asked_for(browser, serving):
    look(browser, 1200, dark=False)
    browser.open(serving(ScriptedWriter(call), tools=[weather_tool()], api_key=KEY))
    browser.until("document.activeElement.id === 'key'")
    browser.type(KEY)
    browser.press("Tab")
    browser.until("document.querySelectorAll('#offered input').length === 1")
    put(browser, "#key", "old")
    send(browser, "weather in Oslo")
    browser.until("document.getElementById('key-problem').textContent.includes('not the server')")
    assert browser.run(f"{BODY}.split('not the server').length") == 2
    assert text_of(browser, "#constrained .written") == text_of(browser, "#free .written") == ""
    assert browser.run(STOP) is True


NASTY = 'it\'s "so" $HOME `id` \\ \u2028 null'


def snippet_of(page, kind):
    send(page, NASTY, limit=3)
    wait_for_both(page)
    page.run(f"document.getElementById('{kind}').click()")
    page.until("document.getElementById('snippet').value !== ''")
    return page.run("document.getElementById('snippet').value")


@pytest.mark.slow
def test_the_curl_command_asks_the_same(page):
    command = snippet_of(page, "curl")
    shown = command.replace("curl ", "printf '%s\\n' ", 1)  # what the shell hands over
    words = subprocess.run(["bash", "-c", shown], capture_output=True, text=True).stdout
    body = json.loads(words[words.index("{") :])
    assert body["messages"] == [{"role": "user", "content": NASTY}]
    assert body["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_weather", "play_music"]
    if shutil.which("curl"):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        assert json.loads(done.stdout)["object"] == "chat.completion"


@pytest.mark.slow
def test_the_python_snippet_asks_the_same(page):
    snippet = snippet_of(page, "python")
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True)
    assert done.stdout.startswith("ChatCompletionMessage("), done.stderr
    assert json.dumps(NASTY, ensure_ascii=False) in snippet


@pytest.mark.slow
def test_the_embedded_model_calls_on_the_page(browser, serving, nano_gguf):
    from edgetool.llama.client import WorkerClient

    look(browser, 1200, dark=False)
    with WorkerClient(nano_gguf, context=512) as writer:
        browser.open(serving(writer, tools=[weather_tool(), music_tool()]))
        browser.until("document.querySelectorAll('#offered input').length === 2")
        send(browser, "weather in Oslo", choice="auto")
        wait_for_both(browser)
        assert text_of(browser, "#constrained .call") == 'get_weather {"city": "Oslo"}'
        assert "a call that can be made" in text_of(browser, "#constrained dl")
        # Free, the rest of the call is a near tie, which another build of the engine may break.
        assert text_of(browser, "#free .call").startswith("get_weather {")
        # The rest of the tool's name and the words around it had no alternative.
        forced = re.search(r"grammar(\d+) of (\d+)", text_of(browser, "#constrained dl"))
        assert 0 < int(forced[1]) < int(forced[2])
        assert browser.complaints == []
