"""The pages: messages that they explain are messages that exist, and every public name has its place."""

import re
from pathlib import Path

import dilm

ROOT = Path(__file__).parents[1]


def test_every_message_of_the_faq_is_one_that_the_program_can_say():
    headings = re.findall(r"^### (.+)$", (ROOT / "docs/faq.md").read_text(encoding="utf-8"), re.MULTILINE)
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    said = re.sub(r'"\s*\n\s*f?"', "", source)  # a message over several lines is one
    messages = [message for heading in headings for message in re.findall("`([^`]+)`", heading)]
    assert len(messages) > 20
    for message in messages:
        pattern = r"\{[^\n]+\}".join(re.escape(part) for part in message.split("…"))
        assert re.search(pattern, said), f"no message like: {message}"


def test_every_public_name_is_in_the_reference():
    documented = re.findall(r"^::: dilm\.(\w+)$", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)
    documented += re.findall(r"^        - (\w+)$", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    assert set(dilm.__all__) <= set(documented)
