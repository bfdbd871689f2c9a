"""The models of the paper and of the codec, in torch: parameters, networks, likelihoods."""
