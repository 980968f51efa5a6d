# A service may take its time. By the time it answers, its replica may have lost the primary's role and got it back: the
# value that it predicted for an entry of then is not that of the entry that is open now.
cluster 3 predicts primary
service r0 slow
request c1 put x 1
abdicate r0
given settle
expect r1 primary
expect reply c1 "ok"
given abdicate r1
given settle
given abdicate r2
given settle
expect r0 primary
request c2 put y 1
answer r0
expect r0 ignored stale-completion
expect r0 op 1
given answer r0
answer r0
expect r0 op 2
given settle
given timeout r0 heartbeat
given settle
expect reply c2 "ok"
expect key predicted r0.2@0ms/0
expect same-state *
