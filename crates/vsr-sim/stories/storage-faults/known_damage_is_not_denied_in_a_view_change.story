# Protocol-aware recovery: a replica that knows its entry to be damaged neither offers nor denies it.
# Were it denied, this quorum would cut what the third replica committed.
cluster 3
given block r0->r1 prepare headers entry
given request c1 put x 1
given settle
expect reply c1 "ok"
crash r2
corrupt r2 log 1
block r0->r2 entry
restart r2
given settle
forge r1->r2 get-entry view=0 wanted=[1@0]
crash r0
given timeout r1 primary-silence
given timeout r2 primary-silence
settle
expect not some primary
given unblock r0->r1
given unblock r0->r2
restart r0
run 5s
expect some primary
expect key x 1
