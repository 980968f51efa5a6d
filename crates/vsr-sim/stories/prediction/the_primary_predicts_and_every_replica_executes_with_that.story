# Paper, section 4.4: a value that no replica could compute alike, the time and a draw of dice, is predicted by the
# primary and travels in the entry. Each replica's own clock says something else; nobody executes with that.
cluster 3 predicts primary
clock r1 ahead 300ms
clock r2 ahead 700ms
request c1 put x 1
settle
timeout r0 heartbeat
settle
expect reply c1 "ok"
expect key predicted r0.1@0ms/0
expect same-state *
