# Protocol.md 5.10: a session goes while requests of it are in the pipeline. The primary tells its
# client at once, and what was certainly not executed moves to a new session.
cluster 3 sessions 9 window 4
given crash r2
given request c10 put z 1
request c1 put x 5
request c1 append x 6
settle
given restart r2
given run 2s
expect reply c1 "ok"
expect key x 56
expect key z 1
expect same-state *
