-- Nothing: with `replicated`, its flight (scripts.py) is answered when a replica has all that was there before it.
--
-- request  {}
-- result   false

return reply(false)
