# Protocol.md 2.4: registration is an entry like any other, so every replica knows the session.
cluster 3
request c10 put x 1
settle
expect reply c10 "ok"
expect r0 op 2
given timeout r0 heartbeat
given settle
crash r0
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
request c10 append x 2
resend c10
settle
expect reply c10 "ok"
given timeout r1 heartbeat
given settle
expect key x 12
