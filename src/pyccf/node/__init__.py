"""The node: a pure machine that turns requests and the passing of time into entries and answers.

`node.Node` is the whole of it; `frontend` executes one request; `outputs` is what the shell is
asked to do; `historical` brings committed transactions back; `waiting` holds answers that were
asked for only once committed.
"""
