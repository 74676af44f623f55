"""The report in Chromium: two rows side by side, and the gallery."""

import pytest
from browser import emulate, mounted, show

pytestmark = pytest.mark.slow


def test_two_rows_are_compared_on_each_subject(browser, report):
    mounted(browser, report)
    script = "return document.querySelector('#compare [role=status]').textContent"
    assert "is higher on" in browser.execute_script(script)
    pick = """const one = document.querySelectorAll('#compare select')[arguments[0]];
      one.selectedIndex = arguments[1]; one.dispatchEvent(new Event('change'));"""
    browser.execute_script(pick, 1, 3)
    browser.execute_script(pick, 2, 3)
    assert "is higher on 0 subjects, lower on 0 and equal on" in browser.execute_script(script)
    browser.execute_script(pick, 0, 1)
    heads = "return [...document.querySelectorAll('#compare thead th')].map((one) => one.textContent)"
    assert browser.execute_script(heads)[0] == "subject"
    assert browser.execute_script("return document.querySelectorAll('#compare .scatterlayer .point').length") > 1
    bars = "return document.querySelectorAll('#compare .barlayer .point').length"
    assert browser.execute_script(bars) == browser.execute_script("return dataOf('compare')[1].subjects.length")
    browser.execute_script(pick, 1, 2)
    link = browser.execute_script("return location.href")
    browser.get("about:blank")
    browser.get(link)
    browser.execute_script("hosts.forEach(mount)")
    chosen = "return [...document.querySelectorAll('#compare select')].map((one) => one.selectedIndex)"
    assert browser.execute_script(chosen) == [1, 2, 1, 0]


GALLERY = """
      const pixel = 'data:image/gif;base64,R0lGODlhAQABAAAAACw=';
      const strip = (name) => `<tr><th><bdi>${name}</bdi></th><td><img width="62" height="40" src="${pixel}"></td></tr>`;
      const strips = ['image', 'mask', 'reconstruction', 'rec_l1', 'grad_kl'].map(strip).join('');
      const cases = '<li><b>best</b> <bdi>p1 · 3</bdi></li><li><b>worst</b> <bdi>p2 · 8</bdi></li>';
      window.gallery = document.createElement('div');
      gallery.className = 'gallery';
      gallery.innerHTML = `<ol class="cases">${cases}</ol><table><tbody>${strips}</tbody></table>`;
      Object.assign(gallery.dataset, { at: 0, tile: 28, gap: 6, height: 40 });
      const scores = { rec_l1: [[0.25, 0, 7], [0.5, 60, 0]], grad_kl: [[0.125, 2, 0], [0.75, 80, 1]] };
      parsed.set('gallery', [{ dataset: 'd1', setting: 'vae, beta 1, seed 0', lesions: [4, 120], scores }]);
      document.body.append(gallery);
      mountGallery(gallery);"""


@pytest.fixture
def gallery(browser, report):
    """A gallery of two cases, mounted as `gallery`: the mask of the second is large, and rec_l1 misses the first."""
    emulate(browser, 1400)
    show(browser, report)
    browser.execute_script(GALLERY)
    return browser


def test_a_case_of_the_gallery_is_seen_closer_with_a_map_over_it(gallery):
    script = """
      const tile = gallery.querySelectorAll('tbody tr')[3].querySelectorAll('button')[1];
      tile.click();
      const dialog = document.querySelector('dialog');
      const slider = dialog.querySelector('input[type=range]');
      slider.value = 25; slider.dispatchEvent(new Event('input'));
      const [below, over] = dialog.querySelectorAll('.layer');
      const label = dialog.querySelector('.stage').getAttribute('aria-label');
      const says = dialog.querySelector('[role=status]').textContent;
      const found = [dialog.open, below.style.backgroundPosition, over.style.opacity, label, says];
      dialog.querySelector('button').click();
      return [...found, document.querySelectorAll('dialog[open]').length, tile.innerText, tile.getAttribute('aria-label')];
    """
    is_open, place, opacity, label, says, left, text, name = gallery.execute_script(script)
    assert (is_open, opacity, left) == (True, "0.25", 0)
    assert float(place.split("px")[0]) == pytest.approx(-34 * 3.5)
    assert label.split() == ["worst", "p2", "·", "8:", "rec_l1", "over", "the", "image", "at", "25", "%"]
    assert says.split() == ["worst", "p2", "·", "8", "·", "rec_l1", "·", "AP", "0.500", "TP", "60/120,", "FP", "0"]
    assert text.split() == ["AP", "0.500", "TP", "60/120,", "FP", "0"]
    assert name.endswith("Look closer")


def test_cases_are_filtered_by_subject_lesion_size_and_what_a_predictor_finds(gallery):
    script = """
      const [search, size, of, has] = gallery.previousElementSibling.querySelectorAll('input, select');
      search.value = arguments[0]; search.dispatchEvent(new Event('input'));
      [[size, 1], [of, 2], [has, 3]].forEach(([select, at]) => {
        select.selectedIndex = [...select.options].findIndex((one) => one.text === arguments[at]);
        select.dispatchEvent(new Event('change'));
      });
      const kept = [...gallery.querySelectorAll('.cases li:not([hidden]) bdi')].map((one) => one.textContent);
      const tiles = [...gallery.querySelectorAll('tbody tr')].map((row) => row.querySelectorAll('.tile:not([hidden])').length);
      return [kept, [...new Set(tiles)], gallery.previousElementSibling.querySelector('[role=status]').textContent];
    """
    rest = ("any size", "rec_l1", "anything")
    first, second = "p1 · 3", "p2 · 8"
    assert gallery.execute_script(script, "", *rest) == [[first, second], [2], "2 of 2 cases"]
    assert gallery.execute_script(script, "P2", *rest) == [[second], [1], "1 of 2 cases"]
    assert gallery.execute_script(script, "", "up to 9 px", *rest[1:])[0] == [first]
    assert gallery.execute_script(script, "", "any size", "rec_l1", "no true positive")[0] == [first]
    assert gallery.execute_script(script, "", "any size", "rec_l1", "true positives")[0] == [second]
    kept = gallery.execute_script(script, "", "any size", "grad_kl", "false positives")
    assert kept[0] == [second]
    gallery.refresh()  # what the link says is shown again
    gallery.execute_script(GALLERY)
    again = "return gallery.previousElementSibling.querySelector('[role=status]').textContent"
    assert gallery.execute_script(again) == kept[2] == "1 of 2 cases"
    assert gallery.execute_script(script, "", "100 to 999 px", "grad_kl", "no false positive")[0] == []


def test_two_rows_show_their_maps_of_the_same_cases(gallery):
    script = """
      const place = document.createElement('div');
      place.append(...casesOfTwo(...arguments));
      document.body.append(place); // its own cases are no gallery to look for others in
      const texts = (row) => [...row.querySelectorAll('th, small')].map((one) => one.textContent.replace('\\n', ' '));
      return [place.querySelector('h3')?.textContent, [...place.querySelectorAll('tbody tr')].map(texts)];
    """
    title, rows = gallery.execute_script(script, "d1", "grad_kl", "rec_l1")
    assert title == "The same cases, maps of vae, beta 1, seed 0"
    assert rows == [
        ["mask"],
        ["grad_kl", "AP 0.125 TP 2/4, FP 0", "AP 0.750 TP 80/120, FP 1"],
        ["rec_l1", "AP 0.250 TP 0/4, FP 7", "AP 0.500 TP 60/120, FP 0"],
    ]
    assert gallery.execute_script(script, "d1", "grad_kl", "rec_l9") == [None, []]
    assert gallery.execute_script(script, "d2", "grad_kl", "rec_l1") == [None, []]
