"""The report in Chromium: it opens from disk, asks for nothing, executes nothing of the runs, and its tables work."""

import pytest
from browser import HOSTILE, UNFOLD, emulate, mounted, requests, show, wait

from leaderboard.board import build
from leaderboard.report import html_report
from leaderboard.results.collect import Collection

pytestmark = pytest.mark.slow


TABLE = "const host = document.querySelectorAll('#leaderboard .tableview, [data-source=view-settings] > *')[arguments[0] ?? 0];"
SETTINGS = 7  # the table of all settings, behind six leaderboards and its own choice of a dataset


def column(browser, at, table=1):
    script = TABLE + "return [...host.querySelectorAll('tbody tr')].map((row) => row.cells[arguments[1]].textContent)"
    return browser.execute_script(script, table, at)


def test_it_opens_from_disk_quietly_asks_for_nothing_and_runs_nothing_of_the_runs(browser, report):
    mounted(browser, report)
    assert browser.execute_script("return window.hit") is None
    assert browser.execute_script("return document.querySelectorAll('img[src=x], main script').length") == 0
    assert browser.execute_script("return document.querySelectorAll('.plot .main-svg').length") >= 3
    shown = "return [...document.querySelectorAll('tbody th, bdi')].filter((one) => one.textContent === arguments[0]).length"
    assert browser.execute_script(shown, HOSTILE.replace("\u202e", "\ufffd")) > 3
    assert browser.get_log("browser") == []
    assert requests(browser) == {report.as_uri()}


def test_what_slips_past_the_escaping_would_still_not_run(browser, report, tmp_path):
    path = tmp_path / "bad.html"
    bad = "<script>window.hit=1</script><img src=data:, onerror=window.hit=1><img src=https://localhost:9/x>"
    path.write_text(report.read_text(encoding="utf-8").replace("<main", bad + "<main", 1), encoding="utf-8")
    mounted(browser, path)
    assert browser.execute_script("return window.hit") is None
    blocked = [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]
    assert len(blocked) == 3


def test_a_table_is_sorted_by_its_headings_and_says_so(browser, report):
    mounted(browser, report)
    before = column(browser, 2)
    assert before == sorted(before, reverse=True)
    heading = "const head = host.querySelectorAll('thead th')[arguments[1]];"
    click = (
        TABLE + heading + "head.querySelector('button').click(); return [document.activeElement.tagName, head.ariaSort]"
    )
    state = TABLE + "return [...host.querySelectorAll('thead th')].map((head) => head.getAttribute('aria-sort'))"
    assert browser.execute_script(state, 1)[2] == "descending"
    assert browser.execute_script(click, 1, 2)[1] == "ascending"
    after = column(browser, 2)
    assert (after, len(after)) == (sorted(after), 30)
    assert browser.execute_script(click, 1, 0)[1] == "ascending"
    names = column(browser, 0)
    assert names[1] <= names[-1]
    assert sum(one is not None for one in browser.execute_script(state, 1)) == 1


def test_rows_are_filtered_by_words_and_values_and_more_are_shown(browser, report):
    mounted(browser, report)
    assert len(column(browser, 0, SETTINGS)) == 20
    browser.execute_script(TABLE + "host.querySelector('.more button:last-child').click()", SETTINGS)
    assert len(column(browser, 0, SETTINGS)) == 80
    typed = (
        TABLE
        + "const box = host.querySelector('input'); box.value = arguments[1]; box.dispatchEvent(new Event('input'));"
    )
    status = typed + "return host.querySelector('.status').textContent"
    assert browser.execute_script(status, SETTINGS, "REC_7") == "2 rows (80 unfiltered)"
    assert set(column(browser, 0, SETTINGS)) == {"rec_7"}
    pick = (
        TABLE
        + "const box = host.querySelector('select'); box.selectedIndex = 2; box.dispatchEvent(new Event('change'))"
    )
    browser.execute_script(pick, SETTINGS)
    assert column(browser, 1, SETTINGS) == ["4"]
    assert browser.execute_script(status, SETTINGS, "nothing like it") == "0 rows (80 unfiltered)"
    assert column(browser, 0, SETTINGS) == ["No row passes the filters."]


def test_marks_and_shading_are_on_the_cells(browser, report):
    mounted(browser, report)
    script = (
        TABLE
        + """
      const best = host.querySelectorAll('tbody tr')[0].cells[2];
      const shades = [...host.querySelectorAll('tbody tr')].map((row) => Number(row.cells[2].style.getPropertyValue('--heat')));
      return [best.querySelector('strong').className, best.textContent, shades]"""
    )
    name, text, shades = browser.execute_script(script, 1)
    assert (name, text.endswith(" (best)"), shades[0]) == ("best", True, 100)
    assert shades == sorted(shades, reverse=True)


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (820, "dark"), (390, "dark")])
def test_it_fits_every_width_and_its_text_has_contrast_in_both_themes(browser, report, width, scheme):
    mounted(browser, report, width, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    faint = """
      const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      const pixel = (...colours) => {
        colours.forEach((colour) => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); });
        return canvas.getImageData(0, 0, 1, 1).data.slice(0, 3);
      };
      const light = (rgb) => [...rgb].map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
      const behind = (one) => (one ? [...behind(one.parentElement), getComputedStyle(one).backgroundColor] : ['white']);
      const contrast = (one) => {
        const under = behind(one);
        const [a, b] = [light(pixel(...under)), light(pixel(...under, getComputedStyle(one).color))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      };
      return [...document.querySelectorAll('h1, h2, h3, p, a, button, th, td, dt, dd, caption, summary, select')]
        .filter((one) => one.checkVisibility() && one.textContent.trim() && !one.closest('.plot .drawn, .skip'))
        .map((one) => [contrast(one), one.tagName, one.textContent.slice(0, 30)]).filter((one) => one[0] < 4.5).slice(0, 5)"""
    assert browser.execute_script(faint) == []


def test_the_theme_follows_the_system_until_the_reader_chooses(browser, report):
    mounted(browser, report, scheme="dark")
    paper = "return getComputedStyle(document.body).backgroundColor"
    dark = browser.execute_script(paper)
    browser.execute_script("document.getElementById('theme').click()")
    light = browser.execute_script(paper)
    assert (dark, light) == ("rgb(20, 23, 27)", "rgb(246, 247, 249)")

    def again(_):
        """A browser writes what it keeps a little later, and may show the page again from another process."""
        show(browser, report)
        return browser.execute_script(paper) == light

    wait(browser).until(again)
    assert browser.execute_script("return document.getElementById('theme').textContent") == "Dark theme"
    browser.execute_script("localStorage.clear()")


def test_it_prints_its_tables_on_white_without_its_controls(browser, report):
    mounted(browser, report, scheme="dark")
    emulate(browser, 1400, "dark", "print")
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    script = "return [...document.querySelectorAll(arguments[0])].filter((one) => one.checkVisibility()).length"
    assert browser.execute_script(script, "nav, .toolbar, #theme, .more button") == 0
    assert browser.execute_script(script, "#leaderboard tbody tr") == 180
    rest = "return [...document.querySelectorAll('#leaderboard .more')].map((one) => one.innerText)"
    assert browser.execute_script(rest) == ["30 of 40 rows: what is shown is printed."] * 6
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script("return document.documentElement.dataset.theme ?? 'none'") == "none"


def test_it_is_said_to_keyboards_and_screen_readers(browser, report):
    mounted(browser, report)
    unnamed = """
      return [...document.querySelectorAll('img, table, input, select, [role=region], figure.plot .drawn')].filter((one) =>
        !(one.alt || one.ariaLabel || one.caption?.textContent || one.labels?.length || one.closest('.gallery')
          || one.getAttribute('aria-labelledby'))).map((one) => one.outerHTML.slice(0, 80))"""
    assert browser.execute_script(unnamed) == []
    assert browser.execute_script("return [...document.querySelectorAll('th')].filter((one) => !one.scope).length") == 0
    assert (
        browser.execute_script(
            "return [...document.querySelectorAll('.scroll')].filter((one) => one.tabIndex < 0).length"
        )
        == 0
    )
    assert browser.execute_script("const link = document.querySelector('a'); return [link.className, link.hash]") == [
        "skip",
        "#main",
    ]
    assert browser.execute_script("return document.documentElement.lang") == "en"


def test_captions_stay_in_sight_on_a_phone_and_no_text_is_cut_off(browser, report):
    mounted(browser, report, 360)
    outside = """
      return [...document.querySelectorAll('caption .said, .cases li')].filter((one) => one.checkVisibility())
        .filter((one) => one.getBoundingClientRect().right > 360 || one.scrollWidth > one.clientWidth + 1)
        .map((one) => one.textContent.slice(0, 40))"""
    assert browser.execute_script(outside) == []


def test_large_data_are_deflated_and_shown_all_the_same(browser, report, make_sweep, tmp_path, monkeypatch):
    runs = make_sweep({"rec_l1": 0.6, HOSTILE: 0.5}, ["d0", "d1"], seeds=2)
    pages = []
    for large in (10**9, 100):
        monkeypatch.setattr("leaderboard.report.page.LARGE", large)
        pages.append(tmp_path / f"{large}.html")
        pages[-1].write_text(html_report(build(Collection(runs))), encoding="utf-8")
    plain, deflated = (path.read_text(encoding="utf-8") for path in pages)
    assert len(deflated) < len(plain)
    texts = []
    for path in pages:
        show(browser, path)
        wait(browser).until(
            lambda page: page.execute_script("return document.querySelector('#front tbody tr') !== null")
        )
        browser.execute_script(UNFOLD)
        browser.execute_script("document.querySelector('#leaderboard tbody th button').click()")
        texts.append(
            browser.execute_script("return [...document.querySelectorAll('.tableview')].map((one) => one.innerText)")
        )
        assert browser.get_log("browser") == []
    assert texts[0] == texts[1]
    assert "window.hit" in texts[1][0]


def test_diagrams_of_ranks_are_those_of_the_chosen_metric_and_datasets(browser, report):
    show(browser, report)
    shown = "return [...document.querySelectorAll('#ranks figure:not([hidden])')].map((one) => one.innerText)"
    assert browser.execute_script(shown) == [
        "Average ranks: pixel AUROC, all datasets",
        "Rank by dataset: pixel AUROC, all datasets",
    ]
    pick = """const [metric, datasets] = document.querySelector('#ranks').previousElementSibling.querySelectorAll('select');
      [[metric, 'AP'], [datasets, 'natural']].forEach(([select, text]) => {
        select.selectedIndex = [...select.options].findIndex((one) => one.text === text);
        select.dispatchEvent(new Event('change'));
      })"""
    browser.execute_script(pick)
    assert browser.execute_script(shown) == ["Average ranks: AP, natural datasets"]


def test_long_names_leave_the_plots_their_room(browser, report):
    mounted(browser, report)
    widths = (
        "return [...document.querySelectorAll('.plot .drawn')].map((one) => one._fullLayout._size.w / one.clientWidth)"
    )
    assert min(browser.execute_script(widths)) > 0.5


def test_a_plot_says_how_many_of_its_names_are_hidden_and_always_shows_intensity_among_its_curves(
    browser, make_sweep, tmp_path
):
    curves = {"recall": [place / 41 for place in range(42)]}
    levels = {f"rec_{at}": 0.9 - at / 100 for at in range(9)} | {"intensity": 0.1}
    path = tmp_path / "report.html"
    path.write_text(html_report(build(Collection(make_sweep(levels, ["d0"], curves=curves)))), encoding="utf-8")
    mounted(browser, path)
    said = """return ['operating', 'beta'].map((kind) => {
      const host = document.querySelector(`[data-plot=${kind}]`);
      const named = host.querySelector('.drawn').data.filter((one) => one.showlegend !== false);
      const shown = named.filter((one) => one.visible !== 'legendonly').map((one) => one.name);
      return [host.querySelector('.note:last-child').textContent.split('. ')[0], shown.length, shown.includes('intensity')];
    })"""
    assert browser.execute_script(said) == [
        ["9 of 10 shown", 9, True],
        ["8 of 10 shown", 8, False],
    ]


@pytest.mark.parametrize("seeds", [2, 3])
def test_over_beta_predictors_stand_beside_each_other_with_bars_or_both_values_of_two_seeds(
    browser, make_sweep, tmp_path, seeds
):
    path = tmp_path / "report.html"
    board = build(Collection(make_sweep({"rec_a": 0.8, "rec_b": 0.7}, ["d0"], seeds=seeds)))
    path.write_text(html_report(board), encoding="utf-8")
    mounted(browser, path)
    drawn = """return document.querySelector('[data-plot=beta] .drawn').data.map((one) => (
      { x: one.x, fill: one.fill ?? null, bars: (one.error_y?.array ?? []).filter((reach) => reach > 0).length }))"""
    traces = browser.execute_script(drawn)
    assert [one["fill"] for one in traces] == [None] * len(traces)
    assert [one["bars"] for one in traces] == ([0, 0] * 2 if seeds == 2 else [2, 2])
    lines = [one["x"] for one in traces if len(one["x"]) == 2]
    assert [len(one["x"]) for one in traces] == ([2, 4] * 2 if seeds == 2 else [2, 2])
    for first, second, beta in zip(*lines, (1, 4), strict=True):
        assert first < beta < second
        assert (first, second) == pytest.approx((beta, beta), rel=0.02)


def test_what_a_table_shows_is_saved_as_csv(browser, report):
    mounted(browser, report)
    script = """
      const table = { title: 'x', header: ['a', 'b,"c"'], rows: [['one', '2.0'], ['two', '1.0'], ['no', '']],
                      kinds: ['text', 'number'], caption: '', heat: [], together: false, marks: [], sort: 1, note: '' };
      const view = new TableView(document.createElement('div'), table, 10);
      view.filterBy('o'); view.sortBy(1);
      return view.csv();
    """
    assert browser.execute_script(script) == 'a,"b,""c"""\r\ntwo,1.0\r\none,2.0\r\nno,\r\n'
    buttons = "return document.querySelectorAll('#leaderboard .save').length"
    assert browser.execute_script(buttons) == 6


def test_a_link_brings_back_what_tables_showed(browser, report):
    mounted(browser, report)
    script = """
      const box = document.querySelector('#leaderboard .tableview input');
      box.value = 'rec_1'; box.dispatchEvent(new Event('input'));
      document.querySelector('#leaderboard .tableview th button').click();
      const pick = document.querySelector('#front select');
      pick.selectedIndex = 1; pick.dispatchEvent(new Event('change'));
      return location.href;
    """
    link = browser.execute_script(script)
    shown = column(browser, 0, 0)
    assert shown == sorted(f"rec_{at}" for at in (1, *range(10, 20)))
    browser.get("about:blank")
    browser.get(link)
    browser.execute_script("hosts.forEach(mount)")
    assert column(browser, 0, 0) == shown
    assert browser.execute_script("return document.querySelector('#front select').selectedIndex") == 1
    assert browser.execute_script("return document.querySelector('#leaderboard .tableview input').value") == "rec_1"
    browser.get(link[:-9])  # cut by a mail program
    assert (
        browser.execute_script("hosts.forEach(mount); return document.querySelectorAll('#leaderboard tbody tr').length")
        > 11
    )


def test_a_row_opens_its_runs_seeds_and_config_by_key_and_by_click(browser, report):
    mounted(browser, report)
    name = browser.find_element("css selector", "#leaderboard .tableview tbody th button")
    state = """const row = document.querySelector('#leaderboard .tableview tbody tr');
      const behind = row.nextElementSibling.querySelector('.behind');
      const runs = [...row.nextElementSibling.querySelectorAll('.behind tbody tr')].map(({ cells }) => [cells[0], cells[1]]);
      const texts = runs.map((cells) => cells.map((one) => one.innerText));
      const opened = behind && [behind.querySelector('h4').textContent, texts, behind.innerText];
      return [row.querySelector('button').ariaExpanded, opened]"""
    assert browser.execute_script(state) == ["false", None]
    name.send_keys("\ue007")  # Enter
    expanded, (title, runs, text) = browser.execute_script(state)
    setting = title.split("setting ")[1].split(":")[0]
    assert (expanded, title.split(",")[1], [seed for seed, _ in runs]) == ("true", " vae", ["0", "1"])
    assert all(run.startswith(setting) for _, run in runs)
    assert "model.beta: 1.0" in text
    browser.execute_script("document.querySelector('#leaderboard .tableview tbody tr').cells[1].click()")
    assert browser.execute_script(state) == ["false", None]
    browser.execute_script("document.querySelector('#front tbody th button').click()")
    assert browser.execute_script("return document.querySelectorAll('#front .behind h4').length") == 6


def test_any_metric_is_shown_saved_and_kept_in_the_link(browser, report):
    mounted(browser, report)
    heads = "return [...document.querySelectorAll('#leaderboard .tableview thead')][1].innerText"
    assert "iou_oracle" not in browser.execute_script(heads)
    tick = """const boxes = [...document.querySelectorAll('#leaderboard .tableview')[1].querySelectorAll('.columns label')];
      for (const name of ['iou_oracle', 'dice']) boxes.find((one) => one.textContent === name).querySelector('input').click();
      return [boxes.length, location.href]"""
    count, link = browser.execute_script(tick)
    assert count == 15
    for again in (False, True):
        shown = browser.execute_script(heads).split()
        assert ("iou_oracle" in shown, "dice" in shown, "dice_oracle" in shown) == (True, False, True)
        if not again:
            browser.get("about:blank")
            browser.get(link)
            browser.execute_script("hosts.forEach(mount)")
    saved = """const view = new TableView(document.createElement('div'), dataOf('leaderboard')[1], 9, 'leaderboard/1');
      return view.csv().split('\\r\\n')[0].split(',')"""
    assert browser.execute_script(saved) == shown_names(browser)


def shown_names(browser):
    heads = """const table = document.querySelectorAll('#leaderboard .tableview')[1];
      return [...table.querySelectorAll('thead th')].map((one) => one.textContent)"""
    return browser.execute_script(heads)


@pytest.mark.parametrize("width", [390, 800, 1400])
def test_an_ordinary_name_of_a_dataset_stays_on_one_line_at_a_glance(browser, report, width):
    mounted(browser, report, width)
    script = """
      const cell = [...document.querySelectorAll('#glance tbody th')].at(-1);
      cell.textContent = 'tiny_texture';
      const range = document.createRange();
      range.selectNodeContents(cell);
      return range.getClientRects().length;
    """
    assert browser.execute_script(script) == 1
