"""The page in headless Chromium, as a person uses it: type, look, click, go back, send."""

import re
import threading

import browser
import numpy as np
import pytest
from PIL import Image

from answering.page import server
from answering.page.app import make_app
from answering.page.guard import Guard

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = browser.needed
MISSING = r"/tile\.jpg\?run=drawn&image=[23]&"  # pictures that are not there


@pytest.fixture(scope="module")
def address(runs):
    """A server's."""
    listener = server.listen("127.0.0.1", 0)
    served = server.open_server(make_app(runs, Guard()), listener)
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    yield server.address_of(listener)
    served.close()


@pytest.fixture(scope="module")
def chromium():
    """A browser."""
    with browser.driven() as found:
        yield found


@pytest.fixture
def refused():
    """Patterns of addresses that a test expects to be refused: the console tells each."""
    return [MISSING]


@pytest.fixture
def visit(chromium, address, refused):
    """Opens the page; in the end nothing was asked for elsewhere, and nothing was complained of."""
    contexts, elsewhere, complaints = [], [], []

    def watch_request(request):
        if not request.url.startswith((f"{address}/", f"blob:{address}/")):
            elsewhere.append(request.url)

    def watch_console(message):
        if not any(re.search(one, message.location["url"]) for one in refused):
            complaints.append((message.text, message.location))

    def opened(path="/", **how):
        context = chromium.new_context(**{"viewport": {"width": 1200, "height": 900}, **how})
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", watch_request)
        page.on("console", watch_console)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert elsewhere == [] and complaints == []


def ask(page, text):
    page.fill("#query", text)
    page.keyboard.press("Enter")


def wide(page):
    """By how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth") - page.viewport_size["width"]


def test_ask_look_and_go_back(visit, address):
    page = visit("/?run=plain")
    page.click(".chips a")  # an example
    page.wait_for_selector("text=5 nearest of 5 pictures")
    page.keyboard.press("/")
    page.keyboard.type("red square")  # in place of what was there
    page.keyboard.press("Enter")
    page.wait_for_url("**/?run=plain&q=red+square")
    page.wait_for_selector("text=5 nearest of 5 pictures")
    expect(page.locator(".tile .words").first).to_have_text("red square")
    expect(page.locator(".under .score").first).to_have_text("score 1.000")
    page.locator(".tile").first.click()
    page.wait_for_url("**/?run=plain&q=red+square&image=2")
    page.wait_for_selector("table")
    rows = page.locator("tbody tr").all_inner_texts()
    assert [row.split() for row in rows] == [["red", "−0.2929"], ["square", "−0.2929"]]
    assert page.locator(".sentences").first.locator("li").count() == 3  # its own captions
    assert page.locator("text=No heat map").count() == 1
    page.locator(".grid .tile").first.click()  # a neighbour
    page.wait_for_url(lambda url: "q=" not in url and "image=" in url)
    page.wait_for_selector("text=Why its nearest caption matches")
    page.go_back()
    page.wait_for_selector("text=Why they match")
    page.go_back()
    page.wait_for_selector("text=5 nearest of 5 pictures")
    assert page.input_value("#query") == "red square"
    page.go_forward()
    page.wait_for_selector("table")
    page.keyboard.press("Escape")
    page.wait_for_selector("text=5 nearest of 5 pictures")
    expect(page.locator(".tile[href$='image=2']")).to_be_focused()
    assert page.url == f"{address}/?run=plain&q=red+square"


def test_an_address_shows_what_it_says(visit, refused):
    refused.append("/api/ask.*q=zebra")
    page = visit("/?run=plain&q=blue+star&image=4")
    page.wait_for_selector("table")
    assert page.input_value("#query") == "blue star" and page.title().startswith("3 ")
    page.keyboard.press("Escape")  # nothing to go back to: the answers
    page.wait_for_selector("text=5 nearest of 5 pictures")
    page.goto(page.url.replace("blue+star", "zebra"))
    page.wait_for_selector("text=The model knows no word of the query (zebra)")


def test_keys_move_through_the_answers(visit):
    page = visit("/?run=plain&q=red")
    page.wait_for_selector(".under")
    place = "[...document.querySelectorAll('.tile')].indexOf(document.activeElement)"
    found = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
        found.append(page.evaluate(place))
    assert found == [0, 1, 0, 1]
    page.set_viewport_size({"width": 500, "height": 900})  # two in a row
    page.keyboard.press("ArrowDown")
    assert page.evaluate(place) == 3
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_selector("table")


def test_a_heat_map_is_laid_over_the_picture(visit):
    page = visit("/?run=drawn&q=red+blue&image=1")
    page.wait_for_selector("text=Heat map")
    shown = page.locator(".detail .left img")
    assert "/picture.jpg" in shown.get_attribute("src")
    page.click("text=Heat map")
    assert "/heat.png" in shown.get_attribute("src")
    expect(shown).to_have_js_property("naturalWidth", 2 * 320)
    assert page.locator(".scale").is_visible()
    page.click("button:text-is('Picture')")
    assert not page.locator(".scale").is_visible()


def test_captions_and_names_are_text(visit):
    page = visit("/?run=drawn&q=red+circle")
    page.wait_for_selector("text=5 nearest of 5 pictures")
    page.goto(page.url + "&image=0")
    page.wait_for_selector("table")
    script = "<script>window.hacked=1</script>"
    assert script in page.locator(".name").inner_text()
    assert script in page.locator(".sentences").first.inner_text()
    ask(page, f"red {script}")
    page.wait_for_selector("text=not known to the model: script, window, hacked")
    assert page.evaluate("window.hacked") is None
    assert page.locator("main script, main img[src=x]").count() == 0
    # A caption stands for a picture that is missing.
    expect(page.locator(".tile .words")).to_have_count(2)


def test_a_picture_is_sent(visit, tmp_path):
    path = tmp_path / "x<b onclick=alert(1)>.png"
    Image.fromarray(np.full((30, 40, 3), 255, np.uint8)).save(path)
    page = visit("/?run=drawn")
    page.wait_for_selector("#choose:not([hidden])")
    page.set_input_files("#file", path)
    page.wait_for_selector("text=Your picture, compared with the gallery")
    assert page.locator(".left .name").inner_text() == path.name
    expect(page.locator(".left img")).to_have_js_property("naturalWidth", 40)
    assert page.locator(".sentences li").count() == 10 and page.locator(".tile").count() == 5
    page.locator(".tile").first.click()
    page.wait_for_selector("text=A picture of the gallery")
    page.go_back()  # it is still there in this page
    page.wait_for_selector("text=Your picture, compared with the gallery")
    page.reload()
    page.wait_for_selector("text=A picture that you ask with is not kept")


def test_a_picture_is_dropped(visit):
    page = visit("/?run=drawn")
    page.wait_for_selector("#choose:not([hidden])")
    drop = """async (kind) => {
        const canvas = new OffscreenCanvas(20, 10);
        canvas.getContext("2d").fillRect(0, 0, 9, 9);
        const data = kind === "image/png" ? await canvas.convertToBlob() : "x".repeat(21 << 20);
        const carried = new DataTransfer();
        carried.items.add(new File([data], "dropped.png", { type: kind }));
        const how = { dataTransfer: carried, bubbles: true, cancelable: true };
        const event = (name) => new DragEvent(name, how);
        document.body.dispatchEvent(event("dragover"));
        const shown = !document.getElementById("drop").hidden;
        document.body.dispatchEvent(event("drop"));
        return shown && document.getElementById("drop").hidden;
    }"""
    assert page.evaluate(drop, "image/png")
    page.wait_for_selector("text=Your picture, compared with the gallery")
    assert page.locator(".left .name").inner_text() == "dropped.png"
    page.evaluate(drop, "image/jpeg")
    page.wait_for_selector("text=dropped.png has 21 MB: at most 20 MB can be sent")


def test_runs_are_chosen(visit):
    page = visit("/?run=plain")
    page.wait_for_selector("text=no other picture can be asked with")
    assert page.locator("#choose").is_hidden()
    ask(page, "red square")
    page.wait_for_selector(".under")
    page.select_option("#run", "order")
    page.wait_for_selector("text=order similarity")
    page.wait_for_url("**/?run=order&q=red+square")
    page.go_back()
    page.wait_for_url("**/?run=plain&q=red+square")
    expect(page.locator("#run")).to_have_value("plain")


def test_a_phone_shows_it_all(visit):
    phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}
    page = visit("/?run=drawn", **phone, is_mobile=True)
    page.wait_for_selector(".chips")
    assert wide(page) <= 0
    ask(page, "red circle")
    page.wait_for_selector(".under")
    assert wide(page) <= 0
    page.locator(".tile").first.tap()
    page.wait_for_selector("table")
    assert wide(page) <= 0
    page.goto(page.url + "&q=" + "x" * 300)
    page.wait_for_selector("text=Its captions")
    assert wide(page) <= 0


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_dark_and_light(visit, scheme, dark):
    page = visit("/?run=plain", color_scheme=scheme)
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, _, _ = map(int, re.findall(r"\d+", colour))
    assert (red < 100) == dark


def test_mistakes_are_told_and_loading_is_shown(visit):
    page = visit("/?run=plain")
    page.wait_for_selector(".chips")
    page.click("button:text-is('Search')")
    page.wait_for_selector("text=Write what the picture should show")
    page.route("**/api/ask?*", lambda route: page.wait_for_timeout(500) or route.continue_())
    ask(page, "red zebra")
    page.wait_for_selector(".skeleton")
    page.wait_for_selector("text=not known to the model: zebra")
    assert page.locator(".skeleton").count() == 0 and page.locator("#error").is_hidden()
