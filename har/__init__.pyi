from har.nn.model_files import load_model as load_model
from har.predictor.live import Stream as Stream
from har.predictor.prediction import Action as Action
from har.predictor.prediction import Prediction as Prediction
from har.predictor.recogniser import Recogniser as Recogniser

__all__ = ["Action", "Prediction", "Recogniser", "Stream", "__version__", "load_model"]
__version__: str
