# A round confirms what was committed when it started: a read that comes later may have to see more.
cluster 3
given request c1 put x 1
given settle
read c2 linearizable get x
read c3 linearizable get x
read c4 linearizable get x
deliver r0->r1 read-probe
deliver r1->r0 read-ok
expect reply c2 "1"
expect no reply c3
expect no reply c4
deliver r0->r1 read-probe
deliver r1->r0 read-ok
expect reply c3 "1"
expect reply c4 "1"
