"""The shipped alert rules speak of metrics that exist."""

from __future__ import annotations

import re

import yaml

from support.tree import ROOT


def test_rules_are_about_metrics_that_exist() -> None:
    """Every rule has an expression and a sentence, and each metric of ours in it is one that the code makes."""
    groups = yaml.safe_load((ROOT / "config/alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    code = "\n".join(path.read_text() for path in (ROOT / "secretd").rglob("*.py"))
    for rule in rules:
        assert rule["annotations"]["summary"]
        for name in re.findall(r"\bsecretd_\w+", rule["expr"]):
            bare = re.sub(r"_(total|bucket|sum|count)$", "", name)
            assert bare in code, name
    assert rules
