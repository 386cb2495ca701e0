"""What a node tells the people who run it. From outside: `observe.log.LogSink` and `Level`.

The pure rooms report; this room turns reports into lines. It never decides anything.
"""
