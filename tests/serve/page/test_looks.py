"""How the page looks and is held: languages, colours, small screens, keys, and those who do not see it."""

import threading

import pytest

from scripted_peer import Handler, call, event, refuse

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
WIDE = "a/very/long/path/without/any/space/" * 12
LONG = f"{WIDE}\n\n```text\n{WIDE}\n```\n\n|{'column |' * 12}\n|{'---|' * 12}\n|{'cell |' * 12}\n\n`{WIDE}`"
SPILLS = """() => {
    const inside = [...document.querySelectorAll('body *')].filter(node =>
        node.checkVisibility() && !node.closest('pre, .wide, svg, .unseen, .skip, .cut')
        && node.getBoundingClientRect().right > innerWidth + 1);
    const named = inside.map(node => node.className || node.tagName);
    return [document.documentElement.scrollWidth - innerWidth, ...named];
}"""


def reopen(page, peer, **options):
    page("open", peer.url, **options)
    page("wait_for_function", "() => server.state === 'up'")


def test_it_speaks_the_readers_language_and_remembers_another(page, peer):
    assert page("inner_text", "#tab-metrics") == "Five metrics"
    reopen(page, peer, locale="zh-CN")
    assert (
        page("inner_text", "#tab-metrics") == "五项指标"
        and page("inner_text", "#empty h1") == "今天炼点什么？"
    )
    peer.script("好")
    page.ask("你好")
    page("click", "#language")
    assert page("inner_text", "#tab-metrics") == "Five metrics" and page.texts(".prose") == ["好"]
    assert page("get_attribute", "html", "lang") == "en"
    page("reload")
    assert page("inner_text", "#tab-metrics") == "Five metrics"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_colours_follow_the_system_until_chosen(page, peer, scheme):
    reopen(page, peer, color_scheme=scheme)
    theme = "() => [document.documentElement.dataset.theme, getComputedStyle(document.body).backgroundColor]"
    grounds = {"light": "rgb(250, 248, 244)", "dark": "rgb(23, 21, 19)"}
    assert page("evaluate", theme) == [scheme, grounds[scheme]]
    page("click", "#theme")
    page("click", "#theme")
    assert page("evaluate", theme) == ["dark", grounds["dark"]]
    page("reload")
    assert page("evaluate", theme) == ["dark", grounds["dark"]]


@pytest.mark.parametrize(
    "options", [PHONE, {"viewport": {"width": 800, "height": 600}}], ids=["phone", "tablet"]
)
def test_nothing_spills_over_a_small_screen(page, peer, options):
    reopen(page, peer, locale="zh-CN", **options)
    assert page("evaluate", SPILLS) == [0]
    peer.script(
        call("search", query=WIDE), [{"reasoning_content": WIDE}, {"content": LONG}], refuse(400, WIDE)
    )
    page.ask(WIDE)
    page("click", ".thought summary")
    assert page("evaluate", SPILLS) == [0]
    page.ask("again")
    assert page("evaluate", SPILLS) == [0]
    assert not page("is_visible", "#panel")
    page("click", "#panel-button")
    assert page("is_visible", "#endpoint") and page("evaluate", SPILLS) == [0]
    page("keyboard.press", "Escape")
    assert not page("is_visible", "#panel")
    page("click", "#tab-metrics")
    peer.script(call("get_weather", city=WIDE), *[LONG] * 6)
    page("click", "#run-classic")
    page("wait_for_selector", "#run-save")
    assert page("evaluate", SPILLS) == [0]


def test_the_keyboard_does_it_all(page, peer):
    peer.script("one")
    page("keyboard.press", "Tab")
    page("evaluate", "() => document.activeElement.blur()")
    page("keyboard.press", "/")
    assert page("evaluate", "() => document.activeElement.id") == "input"
    page("keyboard.type", "two")
    page("keyboard.press", "Shift+Enter")
    page("keyboard.type", "lines")
    assert peer.asked == []
    page("keyboard.press", "Enter")
    page.done()
    assert peer.asked[0]["messages"][0]["content"] == "two\nlines" and page("input_value", "#input") == ""
    page("keyboard.press", "Control+k")
    assert page.texts(".turn") == []
    page("evaluate", "() => document.activeElement.blur()")
    page("keyboard.press", "?")
    page.sees("write a message")
    page("keyboard.press", "Escape")
    assert not page("is_visible", "dialog")
    page("focus", "#tab-chat")
    page("keyboard.press", "ArrowRight")
    assert (
        page("is_visible", "#metrics")
        and page("evaluate", "() => document.activeElement.id") == "tab-metrics"
    )


def test_enter_that_ends_a_chinese_word_sends_nothing(page, peer):
    page("fill", "#input", "ni")
    key = "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true})"
    page("evaluate", f"() => $('input').dispatchEvent({key})")
    assert page("input_value", "#input") == "ni" and peer.asked == []


def test_a_reader_who_scrolled_up_is_left_in_peace(page, peer):
    go_on = threading.Event()

    def give(handler: Handler) -> None:
        handler.head(200, "text/event-stream")
        handler.piece(event({"content": "line\n\n" * 80}))
        go_on.wait(60)
        handler.piece(event({"content": "the end"}) + event({}, "stop") + b"data: [DONE]\n\n")
        handler.piece(b"")

    peer.script(give)
    page("fill", "#input", "much")
    page("press", "#input", "Enter")
    bottom = "() => $('scroll').scrollHeight - $('scroll').scrollTop - $('scroll').clientHeight < 50"
    page("wait_for_function", "() => document.querySelectorAll('.prose p').length > 70")
    page("wait_for_function", bottom)
    page("evaluate", "() => { $('scroll').scrollTop = 0; }")
    page("wait_for_selector", "#down")
    go_on.set()
    page.done()
    assert page("evaluate", "() => $('scroll').scrollTop") == 0
    page("click", "#down")
    page("wait_for_function", bottom)


def test_a_long_conversation_is_not_drawn_again_for_each_word(page, peer):
    many = """() => {
        const say = n => messages.push({role: n % 2 ? 'assistant' : 'user', content: `message ${n}`});
        for (let n = 0; n < 400; n++) say(n);
        draw();
    }"""
    page("evaluate", many)
    page("evaluate", "() => { window.before = [...document.querySelectorAll('.turn')]; }")
    peer.script([{"content": f"word{at} "} for at in range(300)])
    page.ask("go")
    assert page("evaluate", "() => before.length === 400 && before.every(node => node.isConnected)")
    assert page.texts(".prose")[-1].split() == [f"word{at}" for at in range(300)]


NAMELESS = """() => [...document.querySelectorAll('button, input, select, textarea, [role=log]')]
    .filter(node => node.type !== 'file' && !(node.getAttribute('aria-label') || node.textContent.trim()
        || node.labels?.length && node.labels[0].textContent.trim()))
    .map(node => node.outerHTML.slice(0, 120))"""


def test_everything_that_can_be_used_has_a_name(page, peer):
    peer.script(call("calculate", expression="1+1"), "```\ncode\n```")
    page.ask("go")
    assert page("evaluate", NAMELESS) == []
    ids = page("evaluate", "() => [...document.querySelectorAll('[id]')].map(node => node.id)")
    assert len(ids) == len(set(ids))
    assert (
        page("get_attribute", "#told", "aria-live") == "polite" and page("inner_text", "#told") == "Answered."
    )


def test_nothing_went_wrong_unseen(page, peer):
    peer.script("**fine**")
    page.ask("hello")
    page("click", "#tab-metrics")
    page("click", "#language")
    page("click", "#theme")
    assert page("errors") == []
