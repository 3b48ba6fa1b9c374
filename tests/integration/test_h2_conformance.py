"""Every case of conformance, put to revproxy with TLS and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.h2_cases import ALL, H2SPEC, Case, Unfit, ask
from tests.integration.h2_stand import Stand, standing


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with standing(tmp_path_factory.mktemp("conformance"), "[access_log]\nenabled = false") as stand:
        yield stand


def test_no_case_of_h2spec_is_missing() -> None:
    assert len([case for case in H2SPEC if not case.strict]) == 146
    assert len({case.number for case in ALL}) == len(ALL)


@pytest.mark.parametrize("transport", ["tls", pytest.param("clear", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.number)
def test_conforms(stand: Stand, case: Case, transport: str) -> None:
    try:
        ask(case, stand.tls if transport == "tls" else stand.clear)
    except Unfit as reason:
        pytest.fail(f"revproxy can be asked everything, but: {reason}")
