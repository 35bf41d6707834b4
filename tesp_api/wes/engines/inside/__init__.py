"""What every expander has of ours in its sandbox: how it gives up its rights, and the channel to the server.

It runs in the engines' environments, so it imports the standard library and nothing else of ours.
"""
