# Protocol.md 5.10, paper section 4.2: what the old primary executed of a window is answered from the
# table of the new one, what it had prepared is finished, what it lost is taken anew.
cluster 3 window 4
given block r0->c1 reply
request c1 append a 1
settle
request c1 append a 2
given deliver r0->r1 prepare
given cut r0 | r1 r2
request c1 append a 3
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
expect r1 primary
given heal
given unblock r0->c1
given cut r0 | r1 r2
resend c1
settle
expect reply c1 "ok"
given timeout r1 heartbeat
given settle
given heal
given run 2s
expect key a 123
expect same-state *
