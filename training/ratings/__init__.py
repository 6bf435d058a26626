"""Rating predictors: what a user who rated a few items will give others. One file a family."""
