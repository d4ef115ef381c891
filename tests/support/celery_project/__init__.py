"""A project of Celery as projects are: nothing in it knows weft."""
