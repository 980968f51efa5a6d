# Protocol.md 4, flexible quorums: of four replicas two replicate and three change views.
cluster 4
cut r0 r1 | r2 r3
request c1 put x 1
settle
expect reply c1 "ok"
crash r0
given heal
given timeout r1 primary-silence
given timeout r2 primary-silence
given timeout r3 primary-silence
given settle
expect r1 primary
request c2 put y 2
resend c2
settle
expect reply c2 "ok"
expect key x 1
