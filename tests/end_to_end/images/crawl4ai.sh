#!/bin/sh
# Answers Crawl4AI's health API, and ends when it is told to.
trap 'exit 0' TERM
httpd -f -p 11235 -h /www &
wait
