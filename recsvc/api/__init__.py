"""HTTP over the recommender: routes, their models, problems, and what every request passes."""
