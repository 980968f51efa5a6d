# Protocol.md 5.10: a session goes while requests of it are in the pipeline. The primary tells its
# client at once, and what was certainly not executed moves to a new session.
cluster 3 sessions 10 window 4
given request c10 put x 0
given settle
given request c1 put a 1
given request c2 put b 1
given request c3 put c 1
given request c4 put d 1
given request c5 put e 1
given request c6 put f 1
given request c7 put g 1
given request c8 put h 1
given settle
given request c9 put i 1
given settle
given disk * slow
request c11 put z 1
request c10 put x 5
request c10 append x 6
given disk * ok
settle
given run 1s
expect key x 56
expect same-state *
