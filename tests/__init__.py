"""Tests. Helpers that assert are shown in full when they fail."""

import pytest

pytest.register_assert_rewrite("tests.command", "tests.faults.fault")
