# Protocol.md 2.4: a table that is changed before the commit locks the client out for ever.
cluster 3
request c1 put x 1
given drop r0->r1
given drop r0->r2
given crash r0
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
expect r1 primary
resend c1
settle
expect reply c1 "ok"
expect r1 op 1
restart r0
settle
expect r0 op 1
expect same-log r0 r1
