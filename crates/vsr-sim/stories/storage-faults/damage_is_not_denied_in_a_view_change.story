# Protocol-aware recovery: were the damaged entry denied, a quorum could cut what was committed.
cluster 3
given block r0->r1 prepare
given request c1 put x 1
given settle
given request c2 put y 2
given settle
expect reply c2 "ok"
expect r1 op 0
crash r0
crash r2
corrupt r2 log 1
restart r2
given timeout r1 primary-silence
given timeout r2 primary-silence
settle
expect r1 op 2
expect r1 commit 0
restart r0
given settle
given timeout r1 repair
given settle
given maybe timeout r2 repair
given settle
given timeout r1 heartbeat
given settle
expect r1 commit 2
expect key x 1
