"""Write the table of Celery's settings into docs/deploy/migrate-celery.md: `python scripts/celery_table.py`. A unit test compares."""

from __future__ import annotations

from pathlib import Path

from weft.compat.celery.celery_settings import table

PAGE = Path(__file__).resolve().parent.parent / "docs/deploy/migrate-celery.md"
HEAD = "| setting | | what"


def main() -> None:
    text = PAGE.read_text()
    PAGE.write_text(text[: text.index(HEAD)] + table())


if __name__ == "__main__":
    main()
