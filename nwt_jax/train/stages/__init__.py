"""The stages of training: the dVAE, Memcodes of a data set, the priors, and the study on MNIST."""
