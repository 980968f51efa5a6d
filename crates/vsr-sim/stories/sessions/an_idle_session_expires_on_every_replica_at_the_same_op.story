# Protocol.md 5.10: a session that no entry used for long expires by the entries' timestamps, whatever
# the replicas' own clocks say; its client registers anew, and its request moves along.
cluster 3 expiry 500ms
request c1 put a 1
request c2 put b 2
settle
given run 1s
request c2 put b 3
settle
given run 100ms
expect same-state *
request c1 put a 4
settle
expect reply c1 "ok"
given timeout r0 heartbeat
given settle
expect key a 4
expect same-state *
