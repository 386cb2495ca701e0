"""What developers of JavaScript applications use without a service: tests, and runs once more.

`memory.MemoryService` is an application over tables in memory, called as the router would call it.
`testing.run_file` runs a file of unit tests beside it in the real engine; `harness/` holds the
modules that tests import as `@pyccf/test`. `replay` executes a request of a ledger again, with
`trace` telling every look at the tables. Everything runs in this process and without network.
"""
