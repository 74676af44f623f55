from dataclasses import replace
from pathlib import Path

import pytest
from fakes import brain, write_volume

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from data_modules.base.config import HealthyConfig, LayoutConfig, NiftiConfig, SplitConfig
from data_modules.base.errors import DataError
from data_modules.cases.cohorts import modalities
from data_modules.cases.split import group_cases, split_cases
from data_modules.modules.nifti import NiftiDataModule

LAYOUT = LayoutConfig({"flair": "{subject}/{subject}_flair.nii.gz"}, "{subject}/{subject}_seg.nii.gz")
HEALTHY = LayoutConfig({"flair": "{subject}-{scanner}-FLAIR.nii.gz", "t1": "{subject}-{scanner}-T1.nii.gz"})


def config(root: Path, **keys) -> NiftiConfig:
    keys = {"layouts": {"a": LAYOUT}, "modality": "flair"} | keys
    return NiftiConfig("cohort", "nifti", "medical", root=str(root), size=[16, 16], **keys)


def find(root: Path, report=None, **keys):
    data = NiftiDataModule(config(root, **keys), cache_dir=root / "cache")
    return data.find_cases(report) if report else data.find_cases()


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_one_of_several_fitting_layouts_is_chosen(tmp_path):
    touch(tmp_path, "a/a_flair.nii.gz", "a/a_seg.nii.gz")
    other = LayoutConfig({"flair": "{subject}/*_flair.nii.gz"})
    layouts = {"strict": LAYOUT, "loose": other}
    with pytest.raises(DataError, match=r"fit the layouts strict and loose; choose one with dataset\.layout"):
        find(tmp_path, layouts=layouts)
    assert [case.label for case in find(tmp_path, layouts=layouts, layout="strict")] == ["a/a_seg.nii.gz"]
    assert [case.label for case in find(tmp_path, layouts=layouts, layout="loose")] == [None]
    with pytest.raises(DataError, match=r"dataset\.layout=los: cohort has no such layout; did you mean loose\?"):
        find(tmp_path, layouts=layouts, layout="los")


def test_patterns_of_the_users_own_need_no_layout(tmp_path):
    touch(tmp_path, "p1/x_FLAIR.nii.gz", "p1/x_lesion.nii.gz", "p1/mask.nii.gz", "p2/y_FLAIR.nii.gz")
    touch(tmp_path, "p2/y_lesion.nii.gz", "p2/mask.nii.gz", "p2/._y_FLAIR.nii.gz")
    loaded = load_config(
        [
            "dataset=generic",
            f"dataset.root={tmp_path}",
            'dataset.image="{subject}/*_FLAIR.nii.gz"',
            'dataset.label="{subject}/*_lesion.nii.gz"',
            'dataset.brain_mask="{subject}/mask.nii.gz"',
        ]
    ).dataset
    first, second = NiftiDataModule(loaded, cache_dir=tmp_path / "cache").find_cases()
    assert (first.subject, second.subject) == ("p1", "p2")
    assert first.images == {"image": "p1/x_FLAIR.nii.gz"}
    assert (first.label, first.brain_mask) == ("p1/x_lesion.nii.gz", "p1/mask.nii.gz")


def test_patterns_by_modality_are_the_channels_in_their_order(tmp_path):
    touch(tmp_path, "p1/b.nii", "p1/a.nii")
    image = {"t2": "{subject}/b.nii", "t1": "{subject}/a.nii"}
    keys = {"layouts": {}, "image": image}
    assert list(find(tmp_path, **keys, modality=None)[0].images) == ["t2", "t1"]
    assert list(find(tmp_path, **keys, modality="t1")[0].images) == ["t1"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"image": "{subject}.nii"}, r"dataset\.image and dataset\.layouts both say where"),
        ({"layouts": {}}, r"dataset\.image is not set"),
        ({"layouts": {}, "label": "{subject}.nii"}, r"dataset\.label goes with dataset\.image, which is not set"),
        ({"layouts": {}, "image": ["a"], "modality": "a"}, r"dataset\.image=\['a'\]: expected a pattern"),
        ({"layouts": {}, "image": "*.nii", "modality": "image"}, r"the pattern '\*\.nii' has no \{subject\}"),
        (
            {"layouts": {}, "image": "{subject}.nii", "label": "l.nii", "modality": "image"},
            r"'l\.nii' has no \{subject\}",
        ),
        ({"modality": "t9"}, r"modality=t9: cohort has no such modality; there are flair"),
    ],
)
def test_patterns_that_cannot_be_are_named(tmp_path, keys, message):
    touch(tmp_path, "a/a_flair.nii.gz")
    with pytest.raises(DataError, match=message):
        find(tmp_path, **keys)


def test_a_name_in_several_patterns_stands_for_one_text_and_is_an_attribute(tmp_path):
    touch(tmp_path, "a-Guys-FLAIR.nii.gz", "a-Guys-T1.nii.gz", "b-HH-FLAIR.nii.gz", "b-HH-T1.nii.gz")
    both = {"layouts": {"h": HEALTHY}, "modality": ["flair", "t1"]}
    assert [case.attributes for case in find(tmp_path, **both)] == [{"scanner": "Guys"}, {"scanner": "HH"}]
    (tmp_path / "b-HH-T1.nii.gz").rename(tmp_path / "b-IOP-T1.nii.gz")
    with pytest.raises(DataError, match=r"\{scanner\} is IOP in b-IOP-T1\.nii\.gz, but HH in another file of b"):
        find(tmp_path, **both)


def test_a_report_hears_of_every_problem_and_the_subjects_are_left_out(tmp_path):
    touch(tmp_path, "a/1_flair.nii.gz", "a/2_flair.nii.gz", "a/a_seg.nii.gz", "b/1_flair.nii.gz", "b/b_seg.nii.gz")
    touch(tmp_path, "c/1_flair.nii.gz", "d/d_seg.nii.gz")
    layout = LayoutConfig({"flair": "{subject}/*_flair.nii.gz"}, LAYOUT.label)
    problems: list[DataError] = []
    assert [case.subject for case in find(tmp_path, problems.append, layouts={"a": layout})] == ["b"]
    text = "\n".join(map(str, problems))
    assert len(problems) == 3
    assert "a/1_flair.nii.gz and a/2_flair.nii.gz both are the image 'flair' of subject a" in text
    assert "subject c has no label" in text
    assert "subject d has no image 'flair'" in text
    with pytest.raises(DataError, match="both are the image 'flair' of subject a"):
        find(tmp_path, layouts={"a": layout})


def healthy_and_sick(tmp_path: Path) -> NiftiConfig:
    for index in range(6):
        write_volume(tmp_path / f"data/well/h{index}-Guys-FLAIR.nii.gz", brain(index, (26, 20, 12))[0])
        write_volume(tmp_path / f"sick/s{index}/s{index}_flair.nii.gz", brain(index + 20)[0])
        write_volume(tmp_path / f"sick/s{index}/s{index}_seg.nii.gz", brain(index + 20)[1])
    healthy = HealthyConfig("well", layouts={"h": HEALTHY})
    return config(tmp_path / "sick", healthy=healthy, split=SplitConfig(val=0.3, holdout=0.3, salt="c"))


def test_a_healthy_cohort_is_trained_on_and_the_dataset_tested_on(tmp_path):
    data = NiftiDataModule(healthy_and_sick(tmp_path), cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    data.prepare_data()
    data.setup()
    assert {name.split("/")[0] for name in data.split["train"]} == {"well"}
    assert all(name.startswith("s") for name in data.split["test"])
    assert {name[0] for name in data.split["val"]} == {"w", "s"}
    assert sum(map(len, data.split.values())) == 12
    pools = {(case.subject[0], case.pool) for case in data.cases}
    assert pools == {("w", "train"), ("s", "test")}
    assert data.store.anomalous[data.indices["test"]].any()
    assert data.image_shape == (1, 16, 16)
    assert next(case for case in data.cases if case.subject == "well/h0").attributes == {"scanner": "Guys"}


def test_where_the_healthy_cohort_lies_is_not_in_the_fingerprint_but_its_layout_is(tmp_path):
    def fingerprint(change):
        changed = healthy_and_sick(tmp_path)
        change(changed.healthy)
        data = NiftiDataModule(changed, cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
        data.prepare_data()
        return data.fingerprint

    def elsewhere(healthy):
        healthy.root = str(tmp_path / "elsewhere")

    def unlabelled_elsewhere(healthy):
        elsewhere(healthy)
        healthy.layouts = {"h": LayoutConfig({"flair": "{subject}-*-FLAIR.nii.gz"})}

    plain = fingerprint(lambda healthy: None)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "data/well")
    assert fingerprint(elsewhere) == plain
    assert fingerprint(unlabelled_elsewhere) != plain


def test_a_healthy_cohort_that_is_missing_or_lacks_the_modality_is_named(tmp_path):
    touch(tmp_path, "a/a_flair.nii.gz", "a/a_seg.nii.gz")
    with pytest.raises(DataError, match=r"data/well: no such folder; set dataset\.healthy\.root"):
        find(tmp_path, healthy=HealthyConfig("well", layouts={"h": HEALTHY}))
    touch(tmp_path, "well/x-y-T1.nii.gz")
    only_t1 = LayoutConfig({"t1": HEALTHY.image["t1"]})
    with pytest.raises(DataError, match=r"dataset\.modality=flair: well has no such modality; there are t1"):
        find(tmp_path, healthy=HealthyConfig("well", str(tmp_path / "well"), layouts={"h": only_t1}))


def test_any_dataset_can_be_the_healthy_one_on_the_command_line():
    loaded = load_config(["dataset=brats", "+dataset@dataset.healthy=ixi", "dataset.healthy.root=/x"]).dataset
    assert isinstance(loaded.healthy, HealthyConfig)
    assert (loaded.name, loaded.healthy.name, loaded.healthy.root) == ("brats", "ixi", "/x")
    shipped = load_config(["dataset=ixi_brats"]).dataset
    assert (shipped.name, shipped.healthy.name, shipped.modality) == ("ixi_brats", "ixi", ["t2"])
    assert all("t2" in layout.image for layout in (*shipped.layouts.values(), *shipped.healthy.layouts.values()))
    with pytest.raises(ConfigError, match=r"dataset\.healthy\.rot: no such key; did you mean dataset\.healthy\.root\?"):
        load_config(["dataset=ixi_brats", "dataset.healthy.rot=/x"])


@pytest.mark.parametrize(
    ("override", "entry", "value"),
    [
        ("dataset.preprocess.scale.percentiles=[2,98]", "scale", [2, 98]),
        ("dataset.preprocess.crop=null", "crop", None),
        ("+dataset.preprocess.spacing={use: Spacingd, pixdim: [1,1,1]}", "spacing", "Spacingd"),
        ("dataset.preprocess.new={use: Flipd, spatial_axis: 0}", "new", "Flipd"),
    ],
)
def test_preprocessing_is_overridden_on_the_command_line(override, entry, value):
    steps = load_config(["dataset=brats", override]).dataset.preprocess
    assert list(steps)[:4] == ["brain", "crop", "spacing", "scale"]
    got = steps[entry]
    assert value in (got, got and got.get("use"), got and got.get("percentiles"))


@pytest.mark.parametrize("group", [r"(h\d)", None])
def test_the_scans_of_one_healthy_person_stay_together(tmp_path, group):
    names = [f"h{person}s{scan}" for person in range(9) for scan in (1, 2)]
    touch(tmp_path / "data/well", *(f"{name}-Guys-FLAIR.nii.gz" for name in names))
    touch(tmp_path, *(f"sick/s{i}/s{i}_{kind}.nii.gz" for i in range(4) for kind in ("flair", "seg")))
    keys = config(tmp_path / "sick", healthy=HealthyConfig("well", layouts={"h": HEALTHY}, group=group))
    cases = NiftiDataModule(keys, cache_dir=tmp_path / "cache", data_dir=tmp_path / "data").find_cases()
    groups = group_cases(cases, SplitConfig(group=r"(s\d)$"))
    split = split_cases(cases, SplitConfig(val=0.4, salt="c"))
    divided = [p for p in range(9) if (f"well/h{p}s1" in split["train"]) != (f"well/h{p}s2" in split["train"])]
    if group:
        assert divided == []
        assert [case.subject for case in groups["well/h3"]] == ["well/h3s1", "well/h3s2"]
    else:
        assert len(divided) > 1
        assert len(groups["s1"]) == 10  # what split.group of the dataset says


def test_the_group_of_a_healthy_cohort_comes_from_its_yaml_and_names_what_is_wrong_with_it(tmp_path):
    overrides = ["dataset=brats", "+dataset@dataset.healthy=oasis1", "dataset.modality=t1"]
    assert load_config(overrides).dataset.healthy.group == r"(OAS1_\d+)"
    assert load_config([*overrides, 'dataset.healthy.group="(x)"']).dataset.healthy.group == "(x)"
    touch(tmp_path, "sick/s1/s1_flair.nii.gz", "sick/s1/s1_seg.nii.gz", "well/h-Guys-FLAIR.nii.gz")
    for group, message in (("h", "expected parentheses"), ("(h", "no regular expression")):
        healthy = HealthyConfig("well", str(tmp_path / "well"), layouts={"h": HEALTHY}, group=group)
        with pytest.raises(DataError, match=rf"dataset\.healthy\.group=.*{message}"):
            find(tmp_path / "sick", healthy=healthy)


def test_controls_may_have_no_label_if_the_config_says_so(tmp_path):
    for index in range(8):
        volume, label = brain(index)
        write_volume(tmp_path / f"s{index}/s{index}_flair.nii.gz", volume)
        if index % 2:
            write_volume(tmp_path / f"s{index}/s{index}_seg.nii.gz", label)
    with pytest.raises(DataError, match="s0 has no label"):
        find(tmp_path)
    with pytest.raises(DataError, match=r"unlabelled=healty: expected error or healthy"):
        find(tmp_path, layouts={"a": replace(LAYOUT, unlabelled="healty")})
    with pytest.raises(DataError, match=r"dataset\.unlabelled goes with dataset\.image"):
        find(tmp_path, unlabelled="healthy")
    own = {"layouts": {}, "image": LAYOUT.image, "label": LAYOUT.label}
    for keys in ({"layouts": {"a": replace(LAYOUT, unlabelled="healthy")}}, own | {"unlabelled": "healthy"}):
        data = NiftiDataModule(config(tmp_path, **keys), cache_dir=tmp_path / "cache")
        cases = data.find_cases()
        assert [case.subject for case in cases if case.label is None] == ["s0", "s2", "s4", "s6"]
        assert [bool(data.read_case(case).labelled.any()) for case in cases[:2]] == [
            case.label is not None for case in cases[:2]
        ]


def test_a_cohort_without_patterns_is_told_of_the_pattern():
    with pytest.raises(DataError, match=r"dataset\.image is not set: give generic a pattern"):
        modalities(load_config(["dataset=generic"]).dataset)


def test_a_folder_in_a_pattern_may_have_a_mark_which_is_no_number_of_a_volume(tmp_path):
    touch(tmp_path, "C# 1/a/a.nii.gz", "C# 1/a/a_seg.nii.gz")
    layout = LayoutConfig({"flair": "C# 1/{subject}/{subject}.nii.gz#2"}, "C# 1/{subject}/*_seg.nii.gz")
    (case,) = find(tmp_path, layouts={"m": layout})
    assert (case.images, case.label) == ({"flair": "C# 1/a/a.nii.gz#2"}, "C# 1/a/a_seg.nii.gz")
