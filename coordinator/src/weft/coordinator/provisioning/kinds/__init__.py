"""The kinds that come with weft: each is one file, which says what its text is made of."""
