# Protocol.md 5.10, paper section 4.2: what all executed of a window is answered from the table of the
# new primary, what the old one lost is taken anew, and what another client had prepared is finished.
cluster 3 window 4
given block r0->c1 reply
request c1 append a 1
settle
given timeout r0 heartbeat
given settle
given request c2 append b 1
request c1 append a 2
given deliver r0->r1 prepare
given cut r0 | r1 r2
request c1 append a 3
given timeout r1 primary-silence
given timeout r2 primary-silence
settle
expect r1 primary
expect reply c1 "ok"
given heal
given unblock r0->c1
given run 2s
expect reply c2 "ok"
expect key a 123
expect key b 1
expect same-state *
