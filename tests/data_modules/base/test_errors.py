"""What is offered to someone who wrote a name that there is none of."""

from data_modules.base.errors import closest, did_you_mean


def test_a_close_name_is_offered_whatever_its_case():
    assert closest("FLAIR", ["flair", "t1"]) == "flair"
    assert closest("t9", ["flair"]) is None
    assert did_you_mean("FLAIR", ["flair", "t1"]) == "did you mean flair? (there are flair, t1)"
    assert did_you_mean("t9", ["flair"]) == "there are flair"


def test_of_many_names_twenty_are_listed_and_none_where_something_else_is_to_be_said():
    many = [str(number) for number in range(30)]
    assert did_you_mean("x", many).endswith("19 and 10 more")
    assert did_you_mean("x", many, "--cfg prints every key") == "--cfg prints every key"
    assert did_you_mean("seeed", ["seed", *many], "see --cfg") == "did you mean seed? (see --cfg)"
