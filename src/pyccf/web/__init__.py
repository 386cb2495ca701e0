"""A ledger in the browser: a local page over the files of a ledger, for one person on one machine.

`book.Book` finds its way around in a ledger of any size, `views` makes the answers the page asks
for, `server.serve` hands both out on the loopback interface. It reads files only: no node, no
network, nothing is written.
"""
