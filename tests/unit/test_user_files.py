"""JSON and TOML that a user hands in, however odd: one sentence, and no traceback."""

import json
import re

import pytest

from study.analysis.tables import load_json
from study.cli import parse_study
from study.core.errors import StudyError
from study.core.parsing import readable, shown
from study.core.run_dir import settings_of, task_of
from study.core.start_points import FACTS
from study.tasks.registry import STUDIES
from study.tasks.resolve import checked

STUDY = STUDIES["imbalance"]
DEEP, DIGITS = 3000, "9" * 5000


def refusal(*words):
    with pytest.raises(StudyError) as caught:
        checked(STUDY, parse_study(["imbalance", *map(str, words)])[1])
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("it.json", '{"start": ' + "[" * DEEP + "]" * DEEP + "}", "is not valid json: it is nested too deeply"),
        ("it.json", "[" * DEEP, "is not valid json: it is nested too deeply"),
        ("it.toml", "start = " + "[" * DEEP + "]" * DEEP, "is not valid toml: it is nested too deeply"),
        ("it.json", f'{{"seed": {DIGITS}}}', "is not valid json: a number in it has too many digits"),
        ("it.toml", f"seed = {DIGITS}", "is not valid toml: a number in it has too many digits"),
        ("it.toml", "seed = 0x" + "f" * 5000, "--seed must be less than or equal to 4294967295, got a number of too"),
        (
            "it.toml",
            "searcher = 0x" + "f" * 5000,
            "gp, cmaes, qmc, grid, got a number of too many ",
        ),
        ("it.toml", "seed = " + "9" * 4000, "--seed must be less than or equal to 4294967295, got 9999"),
        ("it.json", '{"data_root": null}', "--data-root must be a path, got None"),
        ("it.toml", "cache_dir = 3", "--cache-dir must be a path, got 3"),
        ("it.toml", "arms = []", "--arms must name an arm, got none"),
        ("it.json", '{"arms": []}', "--arms must name an arm, got none"),
        ("it.toml", "arms = " + "[" * 300 + "]" * 300, "--arms "),
    ],
)
def test_a_spec_file_is_refused_in_one_sentence(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    assert message in refusal("--spec", tmp_path / name)


def test_a_number_of_many_digits_on_the_command_line_is_refused_in_a_short_sentence():
    assert refusal("--seed", DIGITS).startswith("--seed must be a whole number, got '999")


@pytest.mark.parametrize("text", ["[" * DEEP, f'{{"task": {DIGITS}}}', '{"task": "\\ud800"'])
def test_a_damaged_run_directory_is_refused_in_one_sentence(tmp_path, text):
    (tmp_path / "spec.json").write_text(text)
    (tmp_path / "ledger.db").write_bytes(b"")
    (tmp_path / FACTS).write_text(text)
    assert task_of(tmp_path) is None
    with pytest.raises(StudyError, match=re.escape("spec.json is damaged")):
        settings_of(tmp_path)
    with pytest.raises(ValueError, match=re.escape("spec.json is not valid JSON")):
        load_json(tmp_path / "spec.json")
    assert "lr_range.json is damaged" in refusal("--start-from-lr-range", tmp_path)


def test_text_that_no_font_takes_is_escaped_where_it_is_read():
    assert readable({"caf\udce9": ["\N{DOG FACE}", "\ud800", "a\\b", 1.5, None]}) == {
        "caf\\udce9": ["\N{DOG FACE}", "\\ud800", "a\\b", 1.5, None]
    }
    assert readable(json.loads('"\\ud83d\\udc36"')) == "\N{DOG FACE}"


def test_a_value_is_shown_whole_where_it_is_short():
    assert shown(12.5) == "12.5"
    assert shown("fast") == "'fast'"
    assert shown(["a", {"b": 1}]) == "['a', {'b': 1}]"
    assert len(shown("x" * 10_000)) <= 300
