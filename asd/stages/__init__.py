"""The insides of the stages that are more than a screen: `asd.pipeline` calls them."""
