"""Programs as users write them, for type checkers alone: `tests/unit/test_typed_programs.py`.

A line that ends in `# wrong` must be refused by each checker; no other line may be.
"""
