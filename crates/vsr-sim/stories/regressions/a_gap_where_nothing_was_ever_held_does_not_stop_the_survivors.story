# Found by the simulator: the only holder of an entry is dead, one survivor's log ends before it, and
# the other got a later entry first. Its gap is a nack, else the two would wait for ever.
cluster 3
given request c1 put x 1
given settle
request c2 put y 2
drop r0->* prepare
request c3 put z 3
deliver r0->r1 prepare
drop r0->r2 prepare
crash r0
given timeout r1 primary-silence
given timeout r2 primary-silence
settle
expect r1 primary
expect reply c2 "ok"
expect reply c3 "ok"
