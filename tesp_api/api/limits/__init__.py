"""How much of the server one user, and all together, may take: what is beyond is answered with 429.

`allowances` reads the settings for an identity; `request_rate` stands before the routes; `list_turns` lets
costly lists run by turns; `endpoint` tells users their limits and use. Tasks are counted by the store.
"""
