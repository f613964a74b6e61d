"""Chat templates made to hurt: each is refused within its limits, and the next prompt is fine."""

from __future__ import annotations

import os
import resource
import threading
import time

import pytest

from edgetool.calls.prompt.prompt import render_prompt
from edgetool.calls.prompt.template import TemplateProcess
from edgetool.errors import ModelError
from tests.conftest import user, weather_tool

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}"
END = "{% endfor %}{% endfor %}"
DOUBLING = "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}"
PAYLOADS = {
    "loops in loops": LOOP + END,
    "loops that write": LOOP + "{{ a * b }}" + END,
    "a huge range": "{% for i in range(10**12) %}{% endfor %}",
    "a list of a range": "{{ range(99999) | list | string * 99999 }}",
    "a text many times": "{{ 'x' * 10**10 }}",
    "a list many times": "{{ [1] * 10**10 }}",
    "a power of powers": "{{ 10**(10**8) }}",
    "a large shift by powers": "{% set x = 2**(2**40) %}",
    "doubling by concatenation": DOUBLING + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    "doubling by plus": DOUBLING + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "doubling by blocks": DOUBLING + "{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}"
    "{% set ns.s = t %}{% endfor %}",
    "doubling by join": DOUBLING + "{% set ns.s = [ns.s, ns.s] | join %}{% endfor %}",
    "doubling by replace": DOUBLING + "{% set ns.s = ns.s | replace('x', 'xx') %}{% endfor %}",
    "a wide column": "{{ 'x' | center(10**10) }}",
    "a wide format": "{{ '%10000000000d' % 5 }}",
    "a wide format method": "{{ '{:>10000000000}'.format(5) }}",
    "a wide justification": "{{ 'x'.ljust(10**10) }}",
    "many bytes": "{{ (1).to_bytes(10**10, 'big') }}",
    "much indentation": "{{ messages | tojson(indent=10**9) }}",
    "much dummy text": "{{ lipsum(n=10**7) }}",
    "batches of much": "{{ [1] | batch(10**9, 'x') | list }}",
    "a date of much": "{{ strftime_now('%Y' * 10**9) }}",
    "a macro without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "macros that branch": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}"
    "{% endmacro %}{{ f(200) }}",
    "a recursive loop": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "deep brackets": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "deep blocks": "{% if 1 %}" * 5_000 + "{% endif %}" * 5_000,
    "a sum of many terms": "{{ " + "1 + " * 100_000 + "1 }}",
    "classes": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "a class by filter": "{{ (messages | attr('__class__')).mro }}",
    "a class by format": "{{ '{0.__class__.__mro__}'.format(messages).x.y }}",
    "globals of a function": "{{ raise_exception.__globals__['__builtins__'] }}",
    "globals of a helper": "{{ cycler.__init__.__globals__.os.system('true') }}",
    "frames of a generator": "{{ (messages | map('string')).gi_frame.f_globals }}",
    "the template's module": "{{ self._TemplateReference__context.environment.x.y }}",
    "another file": "{% include '/etc/passwd' %}",
    "an import": "{% from 'os' import system %}",
    "messages it changes": "{{ messages.append(1) }}",
    "tools it changes": "{{ tools[0].update({'a': 1}) }}",
    "a division by zero": "{{ 1 // 0 }}",
    "a name that is not there": "{{ nothing.at.all }}",
    "no template": "{% for %}",
    "an extension": "{% do messages %}",
}


@pytest.fixture(scope="module")
def strict():
    """Limits a test can wait for; the seconds are of CPU time."""
    process = TemplateProcess(max_seconds=0.25)
    yield process
    process.close()


def conversation():
    return {"messages": [{"role": "user", "content": "hi"}], "tools": [weather_tool().as_openai()]}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_hostile_template_is_refused_and_the_next_one_renders(strict, name):
    with pytest.raises(ModelError, match="chat template"):
        strict.render(PAYLOADS[name], conversation())
    assert strict.render("{{ messages[0].content }}", conversation()) == "hi"


def test_there_are_twenty_five_of_them():
    assert len(set(PAYLOADS.values())) >= 25


def test_a_prompt_by_a_template_without_end_is_a_model_error():
    with pytest.raises(ModelError, match="takes more than 2 s or 256 MiB"):
        render_prompt(LOOP + END, user("x"), [], ())
    assert render_prompt("{{ messages[0].content }}", user("x"), [], ()) == ["x"]


def test_the_parents_memory_stays_what_it_was(strict):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("a text many times", "doubling by concatenation", "loops that write"):
        with pytest.raises(ModelError):
            strict.render(PAYLOADS[name], conversation())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * 1024  # KiB


def test_a_template_that_fails_once_may_serve_another_conversation(strict):
    template = "{% if messages | length > 1 %}{{ raise_exception('one only') }}{% endif %}ok"
    two = {"messages": [{"role": "user", "content": "a"}] * 2}
    for _ in range(2):
        with pytest.raises(ModelError, match="one only"):
            strict.render(template, two)
        assert strict.render(template, conversation()) == "ok"


def test_a_long_conversation_is_no_attack():
    turns = [{"role": "user", "content": f"question {i} " + "word " * 30} for i in range(5_000)]
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}\n{% endfor %}"
    [text] = render_prompt(template, turns, [], ())
    assert text.count("<user>") == 5_000


@pytest.mark.parametrize("text", ["Zürich 東京 🎉", "\ud800", "\x00\u2028\r\n\x85", '"\\n', ""])
def test_any_text_comes_back_as_it_went(strict, text):
    given = {"messages": [{"role": "user", "content": text}]}
    assert strict.render("{{ messages[0].content }}", given) == text


def test_a_child_that_was_killed_is_replaced(strict):
    strict.render("a", {})
    strict._child.kill()
    strict._child.wait()
    assert strict.render("a", {}) == "a"


def test_more_templates_than_are_kept_all_render(strict):
    for turn in range(2):
        for number in range(40):
            assert strict.render(f"{number} {{{{ x }}}}", {"x": turn}) == f"{number} {turn}"


def test_threads_get_their_own_text():
    wrong = []

    def work(number):
        for _ in range(30):
            if render_prompt("{{ messages[0].content }}", user(f"{number}"), [], ()) != [
                f"{number}"
            ]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_fork_renders_with_a_process_of_its_own():
    render_prompt("{{ messages[0].content }}", user("before"), [], ())
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        said = "".join(render_prompt("{{ messages[0].content }}", user("child"), [], ()))
        os.write(theirs, said.encode())
        os._exit(0)
    assert "".join(render_prompt("{{ messages[0].content }}", user("parent"), [], ())) == "parent"
    os.waitpid(child, 0)
    assert os.read(ours, 100) == b"child"
    assert "".join(render_prompt("{{ messages[0].content }}", user("after"), [], ())) == "after"


def test_no_child_outlives_its_owner():
    process = TemplateProcess()
    process.render("a", {})
    child = process._child
    del process
    end = time.monotonic() + 20
    while child.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert child.poll() is not None
