"""Pages in Markdown for a reader of Zhou, Deng and Wu 2020: what was asked, the answer, and what it rests on."""
