from __future__ import annotations

from edgetool.serve.ask import ask


def test_ask_gives_the_calls_of_the_answer(session, examples):
    answer = ask(session, "weather in Oslo please", examples[0].tools)
    assert answer.calls == session.syntax.parse(answer.completion.text).calls
    assert answer.text == ("" if answer.calls else answer.completion.text)
