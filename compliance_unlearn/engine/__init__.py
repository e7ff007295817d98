"""Plan, run and judge a request. The only package that knows the order of things."""
