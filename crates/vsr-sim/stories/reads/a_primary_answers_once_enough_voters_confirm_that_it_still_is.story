# Protocol.md 5.9: a read needs no entry in the log. The primary answers when voters enough that every
# view-change quorum has one of them said that they are in its view.
cluster 3
given request c1 put x 1
given settle
read c2 linearizable get x
expect no reply c2
deliver r0->r1 read-probe
deliver r1->r0 read-ok
expect reply c2 "1"
expect r0 op 1
