from hypothesis import settings

# A shared machine stalls for longer than any sensible deadline of one example.
settings.register_profile("mull", deadline=None)
settings.load_profile("mull")
