"""Personal data is found by form and checksum, and can be taken out of a text."""

import pytest

from backflip.feedback.personal import find_personal, personal_data, redact


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Explain the moon landing in 1969 to a six-year-old, in 2 or 3 sentences.", ()),
        ("What is 123 456 plus 1,000,000.25? See pages 100-200.", ()),
        ("mail jane.doe+x@mail.example.co.uk please", ("email",)),
        ("call (415) 555-2671 now", ("phone",)),
        ("ring +49 30 901820", ("phone",)),
        ("ring 020 7946 0958", ("phone",)),
        ("pay with 4111 1111 1111 1111", ("card",)),  # the well-known test number; its Luhn sum is 30
        ("serial 4111 1111 1111 1112", ()),  # one more: no card
        ("account GB82 WEST 1234 5698 7654 32, thanks", ("iban",)),  # the standard's own example
        ("account GB83 WEST 1234 5698 7654 32, thanks", ()),
        ("SSN 536-90-4399", ("identity",)),
        ("SSN 000-90-4399", ()),  # no such area
        ("我的身份证号是11010519491231002X。", ("identity",)),  # GB 11643's own example
        ("我的身份证号是110105194912310021。", ()),
        ("0000 0000 0000 0000", ()),
    ],
)
def test_personal_data(text: str, kinds: tuple[str, ...]) -> None:
    assert personal_data(text) == kinds


def test_each_find_is_taken_out_and_nothing_else() -> None:
    text = "Ann (ann@example.org, 415-555-2671) pays with 4111-1111-1111-1111; Bob does not."
    assert redact(text) == "Ann ([email], [phone]) pays with [card]; Bob does not."
    assert [text[f.start : f.end] for f in find_personal(text)] == [
        "ann@example.org",
        "415-555-2671",
        "4111-1111-1111-1111",
    ]
    assert redact("Nothing here in 1969.") == "Nothing here in 1969."
