import unicodedata

import pytest

from data_modules.base.config import SplitConfig
from data_modules.base.errors import DataError
from data_modules.cases.case import Case
from data_modules.cases.split import split_cases
from data_modules.cases.subjects_csv import attach_attributes


def cases(names="abcd", **attributes):
    return [Case(name, {"image": name}, attributes=dict(attributes)) for name in names]


def attach(tmp_path, text, known=None, **options):
    path = tmp_path / "subjects.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return attach_attributes(known or cases(), str(path), **options)


def test_without_a_file_nothing_changes():
    assert attach_attributes(cases(sex="F"), None) == cases(sex="F")


@pytest.mark.parametrize("delimiter", ",;\t")
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_cells_become_attributes(tmp_path, delimiter, mark, end):
    rows = [
        ["Subject", " age ", "scanner", "note"],
        ["b", "34", '"Philips, 3T; old\tone"', "ä"],
        [],
        ["a", "", "GE"],
        ["", "", "", ""],
    ]
    text = end.join(delimiter.join(row) for row in rows) + end
    got = attach(tmp_path, mark + text.encode(), cases("abc", age="1", sex="F"))
    assert [(case.subject, case.attributes) for case in got] == [
        ("a", {"age": "1", "sex": "F", "scanner": "GE"}),
        ("b", {"age": "34", "sex": "F", "scanner": "Philips, 3T; old\tone", "note": "ä"}),
        ("c", {"age": "1", "sex": "F"}),
    ]
    assert all(case.split is None and case.images == {"image": case.subject} for case in got)


def test_a_column_of_subjects_alone_is_a_table(tmp_path):
    assert attach(tmp_path, "subject\na\n") == cases()


def test_the_column_split_is_the_split(tmp_path):
    got = attach(tmp_path, "subject,split,age\nd,train,1\nb,test,2\na,val,3\nc,exclude,4\n")
    assert [case.subject for case in got] == ["a", "b", "d"]
    assert "split" not in got[0].attributes
    assert split_cases(got, SplitConfig(train_subjects=["a"])) == {"train": ["d"], "val": ["a"], "test": ["b"]}


def test_a_column_that_only_excludes_leaves_the_others_to_the_hash(tmp_path):
    names = [f"s{i}" for i in range(40)]
    got = attach(tmp_path, "subject,split\ns3,exclude\ns5,\n", cases(names))
    config = SplitConfig()
    whole = split_cases(cases(names), config)
    assert split_cases(got, config) == {part: [name for name in whole[part] if name != "s3"] for part in whole}


BAD = [
    ("age\n3\n", r"has no column 'subject'; its header is age"),
    ("", "has no column 'subject'; its header is empty"),
    ("subject,age\na,1\nb,2\na,3\n", r"line 4: a is there already in line 2"),
    ("subject,age\npatient1,1\n", r"line 2: patient1 is not in the data; did you mean patient01"),
    ("subject,split\na,training\n", r"line 2: split is 'training'; expected train, val, test or exclude"),
    ("subject,split\na,train\nb,val\nc,test\n", "gives no split to (d|patient01)"),
    ("subject,split\na,train\nb,val\nc,test\nd,\npatient01,test\n", "gives no split to d"),
    ("subject,age\na,1,2\n", r"line 2: 3 cells, the header has 2"),
    ("subject,age\n,1\n", r"line 2: the column 'subject' is empty"),
    ("subject,age,age\na,1,2\n", "has two columns 'age'"),
    ('subject,age\n"a,1\n', r"is no CSV \(.*\); check its quotation marks"),
    ("subject,age\nä,1\n".encode("latin-1"), r"is not UTF-8 \(byte 12\); save the table as 'CSV UTF-8'"),
    ("subject,split\n" + "".join(f"{name},exclude\n" for name in [*"abcd", "patient01"]), "every subject is excluded"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_table_names_the_line_and_the_remedy(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        attach(tmp_path, text, cases([*"abcd", "patient01"]))
    assert str(error.value).startswith(str(tmp_path / "subjects.csv"))


def test_a_table_that_is_not_there():
    with pytest.raises(DataError, match=r"/nowhere\.csv: cannot be read .*; set dataset\.subjects_file"):
        attach_attributes(cases(), "/nowhere.csv")


def test_every_problem_is_reported_and_the_rest_is_used(tmp_path):
    problems = []
    text = "subject,split,age\na,train,1\nx,val,2\nb,nowhere,3\na,test,4\nd,test,5\n"
    got = attach(tmp_path, text, report=problems.append)
    assert [str(problem).partition("csv")[2][:20] for problem in problems] == [
        ", line 3: x is not i",
        ", line 4: split is '",
        ", line 5: a is there",
        ": the column 'split'",
        ": the column 'split'",
    ]
    assert [(case.subject, case.split, case.attributes) for case in got] == [
        ("a", "train", {"age": "1"}),
        ("b", None, {}),
        ("c", None, {}),
        ("d", "test", {"age": "5"}),
    ]


def test_accents_are_the_same_however_they_are_composed(tmp_path):
    composed, apart = (unicodedata.normalize(form, "\u00e9") for form in ("NFC", "NFD"))
    assert attach(tmp_path, f"subject,{apart}\n{apart},1\n", cases(composed))[0].attributes == {composed: "1"}
